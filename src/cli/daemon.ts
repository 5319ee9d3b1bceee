import { FireteactError, systemCode } from "../base/errors.ts";
import { unixRequest } from "../base/unix-http.ts";
import { type CommandContext, textOption } from "./command.ts";
import { placesFromEnvironment } from "./places.ts";

/** Options of every command that talks to a running daemon. */
export const DAEMON_OPTIONS = [
  { flags: "--server <address>", description: "unix socket or http address of the daemon" },
  { flags: "--token-file <file>", description: "file with the API token, for a daemon over http" },
];

/** Asks the running daemon. Throws DAEMON_UNREACHABLE, DAEMON_REFUSED or DAEMON_FAILED. */
export async function askDaemon<T>(context: CommandContext, method: string, path: string): Promise<T> {
  const server = textOption(context, "server") ?? `${placesFromEnvironment().run}/api.sock`;
  const tokenFile = textOption(context, "tokenFile");
  const headers: Record<string, string> = {};
  if (tokenFile !== undefined) {
    const { readFileSync } = await import("node:fs");
    headers.Authorization = `Bearer ${readFileSync(tokenFile, "utf8").trim()}`;
  }
  const place = /^https?:\/\//.test(server) ? { url: server } : { socketPath: server };
  const answer = await unixRequest({ ...place, method, path, headers }).catch((error: unknown) => {
    throw new FireteactError(
      "DAEMON_UNREACHABLE",
      `no daemon answers at ${server} (${systemCode(error) ?? "no answer"})`,
      {
        hint: "start it with 'fireteact serve', or name another address with --server",
        cause: error,
      },
    );
  });
  if (answer.status < 300) return JSON.parse(answer.body) as T;
  throw refusal(answer.status, answer.body);
}

function refusal(status: number, body: string): FireteactError {
  let problem: { code?: string; message?: string; hint?: string } = {};
  try {
    problem = (JSON.parse(body) as { error?: typeof problem }).error ?? {};
  } catch {
    problem = { message: body.trim().slice(0, 200) };
  }
  const code = status < 500 ? "DAEMON_REFUSED" : "DAEMON_FAILED";
  return new FireteactError(
    code,
    problem.message ?? `the daemon answered ${status}`,
    problem.hint === undefined ? {} : { hint: problem.hint },
  );
}
