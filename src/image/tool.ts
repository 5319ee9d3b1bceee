import { spawn } from "node:child_process";
import { pipeline } from "node:stream/promises";
import { FireteactError } from "../base/errors.ts";
import { kill } from "../base/process.ts";

/** Tools the image's makers call, and the Debian package of each. */
const PACKAGE_OF = {
  "apt-cache": "apt",
  "apt-get": "apt",
  chroot: "coreutils",
  cp: "coreutils",
  "dpkg-deb": "dpkg",
  "mkfs.ext4": "e2fsprogs",
  mmdebstrap: "mmdebstrap",
  strip: "binutils",
  tar: "tar",
} as const;

export type Tool = keyof typeof PACKAGE_OF;

export interface ToolOptions {
  signal: AbortSignal;
  cwd?: string;
  env?: Record<string, string>;
  /** Called with every line of standard error as it comes. */
  onLine?: (line: string) => void;
  /** Written to its standard input. A failure to make it is the failure of the call. */
  input?: AsyncIterable<Buffer>;
}

const KEPT_CHARACTERS = 64 * 1024;

/**
 * Runs a tool to its end and returns its standard output. Failures say what the tool said: TOOL_MISSING, DISK_FULL or
 * TOOL_FAILED. When the signal is aborted the tool and whatever it started are ended, and the signal's reason is thrown.
 */
export async function runTool(tool: Tool, args: readonly string[], options: ToolOptions): Promise<string> {
  const { signal } = options;
  signal.throwIfAborted();
  const child = spawn(tool, args, {
    stdio: ["pipe", "pipe", "pipe"],
    // A group of its own, so that an abort reaches what the tool has started.
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive", ...options.env },
  });
  const output = collect(child.stdout);
  const errors = collect(child.stderr, options.onLine);

  const abort = (): void => {
    if (child.pid !== undefined) kill(-child.pid, "SIGTERM");
  };
  signal.addEventListener("abort", abort, { once: true });
  const fed = feed(child.stdin, options.input ?? [], abort);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    }).catch((error: unknown) => {
      throw missing(tool, error);
    });
    signal.throwIfAborted();
    const unfed = await fed;
    if (unfed !== undefined) throw unfed.error;
    if (code !== 0) throw failed(tool, args, code, errors.text());
    return output.text();
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Writes a tool's input. What keeps the input from being made ends the tool; one that ends before its input speaks for itself. */
async function feed(
  stdin: NodeJS.WritableStream,
  input: AsyncIterable<Buffer> | Iterable<Buffer>,
  abort: () => void,
): Promise<{ error: unknown } | undefined> {
  try {
    await pipeline(input, stdin);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"].includes(code)) return undefined;
    abort();
    return { error };
  }
  return undefined;
}

/** Keeps the end of a stream, bounded, and hands on its lines. */
function collect(stream: NodeJS.ReadableStream, onLine?: (line: string) => void): { text(): string } {
  let kept = "";
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    kept = (kept + chunk).slice(-KEPT_CHARACTERS);
    if (onLine === undefined) return;
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(-KEPT_CHARACTERS);
    for (const line of lines) onLine(line);
  });
  return { text: () => kept };
}

function missing(tool: Tool, cause: unknown): FireteactError {
  const hint = `apt-get install ${PACKAGE_OF[tool]}`;
  return new FireteactError("TOOL_MISSING", `${tool} is needed for the guest image and could not be started`, {
    hint,
    cause,
  });
}

function failed(tool: Tool, args: readonly string[], code: number | null, stderr: string): FireteactError {
  const said = stderr.trim().split("\n").slice(-6).join("\n");
  const facts = { tool, exitCode: code ?? -1, arguments: args.join(" ").slice(0, 400) };
  if (/no space left on device|could not allocate block/i.test(stderr)) {
    return new FireteactError("DISK_FULL", `The disk is full: ${tool} could not write`, {
      hint: "Free some space where Fireteact keeps its state, or move that with the state directory's setting",
      facts,
    });
  }
  return new FireteactError(
    "TOOL_FAILED",
    `${tool} failed with exit code ${code ?? "none"}: ${said || "it said nothing"}`,
    {
      facts,
    },
  );
}
