import { Code, ConnectError } from "@connectrpc/connect";

/**
 * What a failed call of the runner protocol means. Gitea and older Forgejo wrap everything as code `unknown` with the
 * meaning in the text, so this is the one place that reads texts.
 */
export type RpcProblem =
  /** Register: the registration token was replaced by a newer one, or never existed. */
  | "registration-token-refused"
  /** The runner's row is gone, or its credentials are wrong. */
  | "unregistered"
  /** The log of the task was closed: it takes no more lines. */
  | "log-closed"
  /** The method or the whole protocol is not there. */
  | "unimplemented"
  | "other";

export function rpcProblem(error: unknown): RpcProblem {
  if (!(error instanceof ConnectError)) return "other";
  const text = error.rawMessage;
  if (/runner registration token (not found|has been invalidated)/i.test(text)) return "registration-token-refused";
  if (error.code === Code.Unauthenticated) return "unregistered";
  if (/code = Unauthenticated|unregistered runner|runner has been removed/i.test(text)) return "unregistered";
  if (/log file has been archived/i.test(text)) return "log-closed";
  if (error.code === Code.Unimplemented) return "unimplemented";
  return "other";
}
