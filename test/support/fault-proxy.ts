import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What goes wrong between fireteact and its forge. */
export type Trouble =
  /** Nothing listens any more; open connections are gone. */
  | { kind: "refuse" }
  /** The connection is reset before the forge hears of the request. */
  | { kind: "reset" }
  /** Somebody else answers; the forge hears nothing. */
  | { kind: "answer"; status: number; headers?: Record<string, string>; body?: string }
  /** The request waits before the forge hears of it. */
  | { kind: "slow"; milliseconds: number }
  /** Nobody answers, and the forge hears nothing. */
  | { kind: "hang" }
  /** The forge does what it is asked, and its answer is lost. */
  | { kind: "lose-reply" }
  /** A complete answer whose body is cut in half. */
  | { kind: "half-body" }
  /** The connection ends in the middle of the answer. */
  | { kind: "break-off" }
  /** The forge's answer with other headers. */
  | { kind: "headers"; headers: Record<string, string> };

export interface ProxiedRequest {
  /** `performance.now()` of its arrival. */
  at: number;
  /** `GET /api/v1/version`, without the query. */
  subject: string;
  authorization: string | undefined;
}

export interface Certificate {
  key: string;
  cert: string;
}

/** An HTTP proxy at an address of its own in front of one forge. */
export interface FaultProxy {
  readonly url: string;
  /** Everything that arrived since the start or the last `forget`. */
  requests(): readonly ProxiedRequest[];
  forget(): void;
  /**
   * Begins a trouble, of all requests or of those whose subject matches.
   * @returns ends it
   */
  begin(trouble: Trouble, options?: { match?: RegExp; times?: number }): Promise<() => Promise<void>>;
  /** Another certificate for new connections; existing ones are closed. */
  setCertificate(certificate: Certificate): void;
  close(): Promise<void>;
}

interface Rule {
  trouble: Exclude<Trouble, { kind: "refuse" }>;
  match: RegExp;
  left: number;
}

/** @param upstream the forge's URL, without TLS and without a path */
export async function startFaultProxy(upstream: string, certificate?: Certificate): Promise<FaultProxy> {
  const seen: ProxiedRequest[] = [];
  const rules = new Set<Rule>();
  const closing = new AbortController();
  const listener = (incoming: IncomingMessage, response: ServerResponse) => {
    const subject = `${incoming.method} ${(incoming.url ?? "/").split("?", 1)[0]}`;
    seen.push({ at: performance.now(), subject, authorization: incoming.headers.authorization });
    const rule = [...rules].find(({ match, left }) => left > 0 && match.test(subject));
    if (rule !== undefined) rule.left--;
    pass(incoming, response, rule?.trouble).catch(() => response.destroy());
  };

  const pass = async (incoming: IncomingMessage, response: ServerResponse, trouble: Rule["trouble"] | undefined) => {
    const body = Buffer.concat(await incoming.toArray());
    if (trouble?.kind === "reset") return reset(incoming);
    if (trouble?.kind === "hang") return;
    if (trouble?.kind === "answer") {
      response.writeHead(trouble.status, trouble.headers).end(trouble.body ?? "");
      return;
    }
    if (trouble?.kind === "slow") await sleep(trouble.milliseconds, undefined, { signal: closing.signal });
    const answer = await ask(upstream, incoming, body, closing.signal);
    if (trouble?.kind === "lose-reply") return reset(incoming);
    const cut = trouble?.kind === "half-body" ? answer.body.subarray(0, answer.body.length / 2) : answer.body;
    const given = trouble?.kind === "headers" ? trouble.headers : {};
    const headers = { ...answer.headers, "content-length": String(cut.length), ...given };
    if (trouble?.kind !== "break-off") {
      response.writeHead(answer.status, headers).end(cut);
      return;
    }
    response.writeHead(answer.status, { ...headers, "content-length": String(cut.length + 1) });
    response.write(cut, () => incoming.socket.destroy());
  };

  const make = (): Server =>
    certificate === undefined ? createServer(listener) : createTlsServer(certificate, listener);
  let server = await listening(make(), 0);
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };

  return {
    url: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    requests: () => seen,
    forget: () => void seen.splice(0),
    begin: async (trouble, { match = /./, times = Number.POSITIVE_INFINITY } = {}) => {
      if (trouble.kind === "refuse") {
        await stop();
        return async () => {
          server = await listening(make(), port);
        };
      }
      const rule = { trouble, match, left: times };
      rules.add(rule);
      return async () => void rules.delete(rule);
    },
    setCertificate: (next) => {
      if (!("setSecureContext" in server)) throw new Error("this proxy has no TLS");
      (server as Server & { setSecureContext(options: Certificate): void }).setSecureContext(next);
      server.closeAllConnections();
    },
    close: async () => {
      closing.abort();
      await stop();
    },
  };
}

async function listening(server: Server, port: number): Promise<Server> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  return server;
}

/** A reset where the socket can send one; under TLS there is only an end. */
function reset({ socket }: IncomingMessage): void {
  if ("encrypted" in socket) socket.destroy();
  else socket.resetAndDestroy();
}

async function ask(upstream: string, incoming: IncomingMessage, body: Buffer, signal: AbortSignal) {
  const { connection: _, host: __, ...headers } = incoming.headers;
  return await new Promise<{ status: number; headers: IncomingMessage["headers"]; body: Buffer }>((resolve, reject) => {
    const asked = request(upstream + (incoming.url ?? "/"), { method: incoming.method, headers, signal }, (answer) => {
      const { connection: _, "keep-alive": __, "transfer-encoding": ___, ...kept } = answer.headers;
      answer
        .toArray()
        .then(
          (chunks) => resolve({ status: answer.statusCode ?? 0, headers: kept, body: Buffer.concat(chunks) }),
          reject,
        );
    });
    asked.once("error", reject);
    asked.end(body);
  });
}
