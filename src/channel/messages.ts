/**
 * What host and agent say to each other. Frames carry these as JSON (see frames.ts); host.ts and agent.ts keep
 * order, numbering and acknowledgement. Everything from the agent is a claim of a guest that may be hostile.
 */

export const PROTOCOL_VERSION = 1;
/** The host speaks this and the previous two versions. */
export const OLDEST_VERSION = 1;

/** Host to agent. */
export type HostMessage =
  /** Opens every dial. The agent ignores everything before a hello, and answers with the same nonce. */
  | { kind: "hello"; nonce: string; version: number; oldest: number; next: number }
  /** All events below `next` arrived and are recorded. */
  | { kind: "ack"; next: number }
  /** The metadata changed: read it again now. */
  | { kind: "metadata" }
  /** Take no more jobs; answered by the event `drained`, or `assigned` if there is one. */
  | { kind: "drain" }
  /** End the engine and then the sandbox. */
  | { kind: "shutdown"; graceMs: number }
  | { kind: "ping"; id: number };

/** Agent to host. */
export type AgentMessage =
  | { kind: "hello"; nonce: string; version: number; agent: string; next: number; engine?: string }
  | { kind: "event"; seq: number; at: number; event: AgentEvent }
  /** `next`: the number that its next event will have, so that the host sees a hole at the end too. */
  | { kind: "pong"; id: number; next?: number };

/** Numbered from 0 and kept by the agent until acknowledged, so that a new dial goes on where the last one ended. */
export type AgentEvent =
  | { kind: "up"; agent: string; engines: string[] }
  /** Credentials were found and the engine is being started. */
  | { kind: "starting"; engine: string }
  | { kind: "listening" }
  | { kind: "assigned"; taskId?: number; name?: string; repository?: string; runId?: string }
  | { kind: "first-step" }
  | { kind: "job-finished"; result?: "success" | "failure" | "cancelled" | "skipped" }
  | { kind: "drained" }
  | { kind: "engine-exited"; code: number; detail?: string }
  /** Output of the engine; bounded by the agent, and again by the host. */
  | { kind: "log"; stream: "engine" | "job" | "agent"; text: string }
  | { kind: "failed"; detail: string };
