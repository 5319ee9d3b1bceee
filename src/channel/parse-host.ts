import type { HostMessage } from "./messages.ts";

/**
 * What an agent understands. Written by hand, since the agent starts in every sandbox and a schema library would be half
 * of its code. The host is trusted; what a broken pipe makes of its messages is not.
 */
export function parseHostMessage(value: unknown): HostMessage | undefined {
  if (typeof value !== "object" || value === null || !("kind" in value)) return undefined;
  const message = value as Record<string, unknown>;
  const { kind, nonce, version, oldest, next, id, graceMs } = message;
  switch (kind) {
    case "hello":
      if (typeof nonce !== "string" || !isCount(version) || !isCount(oldest) || !isCount(next)) return undefined;
      return { kind, nonce, version, oldest, next };
    case "ack":
      return isCount(next) ? { kind, next } : undefined;
    case "ping":
      return isCount(id) ? { kind, id } : undefined;
    case "shutdown":
      return isCount(graceMs) ? { kind, graceMs } : undefined;
    case "metadata":
    case "drain":
      return { kind };
    default:
      return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
