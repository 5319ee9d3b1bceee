import type { Orchestrator } from "../orchestrator/port.ts";

/** Everything the API may do. It reads snapshots and sends commands; it never calls a driver or a forge. */
export interface ApiDeps {
  orchestrator: Orchestrator;
  version: { version: string; commit: string; built: string };
  /** Prometheus text. */
  metrics: () => Promise<{ contentType: string; body: string }>;
  /** Reads the bearer token; undefined where no token file is configured. Throws when the file cannot be read. */
  token?: () => string;
  /** Verifies and takes in a forge's webhook; undefined where no secret is configured. */
  webhook?: (headers: Headers, body: Uint8Array) => WebhookAnswer;
  /** Begins to drain; what runs goes on to its end. */
  drain: () => void;
  /** Told of a request that failed inside, for the log: over TCP the answer does not say why. */
  failed?: (error: unknown, request: string) => void;
}

export interface WebhookAnswer {
  status: 202 | 400 | 401 | 413;
  message: string;
  /** Of a refusal. */
  code?: string;
  hint?: string;
}
