import { spawn } from "node:child_process";
import { FireteactError, ignore } from "./errors.ts";

interface ExecOptions {
  signal?: AbortSignal;
  /** Milliseconds after which the program is killed. Default 30 s. */
  timeout?: number;
  /** Most bytes kept of each output stream; the rest is read and dropped. Default 1 MiB. */
  maxOutput?: number;
  /** Written to its standard input, which is then closed. */
  input?: string;
  /** Its environment. Default: nothing but a search path and a neutral locale. */
  env?: NodeJS.ProcessEnv;
  /** Exit codes that are no failure. Default only 0. */
  accept?: readonly number[];
  /** Kills what it started too, where it is killed: for programs of others, which may leave helpers with its output. */
  group?: boolean;
}

export interface ExecResult {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs a short program to its end. Nothing is interpreted by a shell, and unless told otherwise its environment holds
 * nothing but a search path and a neutral locale.
 *
 * @throws FireteactError `PROGRAM_MISSING`, `PROGRAM_TIMEOUT` or `PROGRAM_FAILED` (facts: `program`, `code`, `signal`), or
 *   the signal's reason.
 */
export async function exec(program: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  options.signal?.throwIfAborted();
  const { timeout = 30_000, maxOutput = 1024 * 1024, accept = [0] } = options;
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: options.env ?? { PATH: SEARCH_PATH, LC_ALL: "C.UTF-8" },
    detached: options.group === true,
  });
  let timedOut = false;
  const end = () => (options.group === true && child.pid !== undefined ? killGroup(child.pid) : child.kill("SIGKILL"));
  const timer = setTimeout(() => {
    timedOut = true;
    end();
  }, timeout);
  options.signal?.addEventListener("abort", end);
  const output = collect(child.stdout, maxOutput);
  const errors = collect(child.stderr, maxOutput);
  // A program that does not read its input ends without it.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");

  try {
    const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
    options.signal?.throwIfAborted();
    if (timedOut) throw new FireteactError("PROGRAM_TIMEOUT", `${program} did not end within ${timeout} ms`);
    if (code === null || !accept.includes(code)) throw failed(program, code, signal, errors() || output());
    return { code, stdout: output(), stderr: errors() };
  } catch (error) {
    throw error instanceof Error && "syscall" in error ? missing(program, error) : error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", end);
  }
}

/** What programs that Fireteact starts get as PATH; also what its own search uses when the environment has none. */
export const SEARCH_PATH = process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    ignore("ESRCH")(error);
  }
}

function collect(stream: NodeJS.ReadableStream, limit: number): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    if (size < limit) chunks.push(chunk.subarray(0, limit - size));
    size += chunk.length;
  });
  return () => Buffer.concat(chunks).toString();
}

function failed(program: string, code: number | null, signal: string | null, output: string): FireteactError {
  const how = signal === null ? `failed with code ${code}` : `was ended by ${signal}`;
  const said = output.trim().split("\n").slice(-3).join("; ").slice(0, 400);
  return new FireteactError("PROGRAM_FAILED", `${program} ${how}${said === "" ? "" : `: ${said}`}`, {
    facts: { program, code: code ?? undefined, signal: signal ?? undefined },
  });
}

const missing = (program: string, cause: Error): FireteactError =>
  new FireteactError("PROGRAM_MISSING", `${program} cannot be started`, {
    cause,
    hint: `Install the package that has ${program}, or add its directory to PATH`,
  });
