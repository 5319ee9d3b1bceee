import { FireteactError, systemCode } from "../base/errors.ts";
import { type CommandContext, textOption } from "./command.ts";
import { placesFromEnvironment } from "./places.ts";

/** Heading of the commands that ask a daemon. */
export const DAEMON_GROUP = "Look at a running daemon and steer it:";

/** Options of every command that talks to a running daemon. */
export const DAEMON_OPTIONS = [
  {
    flags: "--server <address>",
    description: "socket or http address of the daemon (default: the socket of the daemon on this host)",
  },
  { flags: "--token-file <file>", description: "file with the API token, for a daemon over http" },
];

const TIMEOUT = 10_000;

/** Asks the running daemon. Throws DAEMON_UNREACHABLE, DAEMON_REFUSED or DAEMON_FAILED. */
export async function askDaemon<T>(context: CommandContext, method: string, path: string): Promise<T> {
  const server = textOption(context, "server") ?? `${placesFromEnvironment().run}/api.sock`;
  const request = { method, path, headers: await authorization(context) };
  const answer = await exchange(server, request).catch((error: unknown) => {
    throw unreachable(server, error);
  });
  const body = parsed(answer.body);
  if (answer.status < 300 && body !== undefined) return body as T;
  throw refusal(server, answer.status, body);
}

async function authorization(context: CommandContext): Promise<Record<string, string>> {
  const file = textOption(context, "tokenFile");
  if (file === undefined) return {};
  const { readSecretFile } = await import("../config/secret.ts");
  return { Authorization: `Bearer ${readSecretFile(file).value}` };
}

interface Request {
  method: string;
  path: string;
  headers: Record<string, string>;
}

async function exchange(server: string, request: Request): Promise<{ status: number; body: string }> {
  if (/^https?:\/\//.test(server)) {
    const { method, headers } = request;
    const signal = AbortSignal.timeout(TIMEOUT);
    const answer = await fetch(new URL(request.path, server), { method, headers, signal, redirect: "error" });
    return { status: answer.status, body: await answer.text() };
  }
  const { unixRequest } = await import("../base/unix-http.ts");
  return unixRequest({ socketPath: server, timeout: TIMEOUT, ...request });
}

const REASONS: Record<string, string> = {
  ENOENT: "there is no such socket",
  ECONNREFUSED: "nothing listens there",
  EACCES: "this user may not open it",
  ENOTFOUND: "its name does not resolve",
};

function unreachable(server: string, error: unknown): FireteactError {
  const code = systemCode(error);
  const why = REASONS[code ?? ""] ?? code ?? (error instanceof Error ? error.message : "no answer");
  const hint =
    code === "EACCES"
      ? "the socket is its owner's alone: use sudo"
      : "start it with 'fireteact serve', or name another address with --server";
  return new FireteactError("DAEMON_UNREACHABLE", `no daemon answers at ${server}: ${why}`, {
    hint,
    facts: { server, cause: code },
  });
}

interface Problem {
  error?: { code?: string; message?: string; hint?: string };
}

function refusal(server: string, status: number, body: unknown): FireteactError {
  const { code, message, hint } = (body as Problem | undefined)?.error ?? {};
  if (message === undefined) {
    return new FireteactError("DAEMON_FAILED", `what answers at ${server} (status ${status}) is not fireteact`, {
      hint: "check the address",
      facts: { status },
    });
  }
  return new FireteactError(status < 500 ? "DAEMON_REFUSED" : "DAEMON_FAILED", message, {
    facts: { status, reason: code },
    ...(hint === undefined ? {} : { hint }),
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
