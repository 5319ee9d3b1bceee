import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import type { Clock } from "../../../base/clock.ts";
import { FireteactError } from "../../../base/errors.ts";
import { kill } from "../../../base/process.ts";
import type { JobLog } from "./job-log.ts";
import type { Masks } from "./masks.ts";

interface ProcessOptions {
  command: string[];
  cwd: string;
  environment: Record<string, string>;
  onLine: (line: string) => void;
  log: JobLog;
  masks: Masks;
  clock: Clock;
  /** Ends the whole process group: SIGTERM, and SIGKILL after a while. */
  signal: AbortSignal;
}

/** Between asking and forcing. */
const KILL_DELAY = 5_000;
/** What a program left running may still say after the program itself has ended. */
const TRAILING = 300;
const LONGEST_LINE = 64 * 1024;

/** Process groups that steps left behind, to be ended with the job. */
export interface ProcessGroups {
  killAll(): void;
  add(pid: number): void;
}

export function createProcessGroups(): ProcessGroups {
  const pids = new Set<number>();
  return {
    add: (pid) => void pids.add(pid),
    killAll() {
      for (const pid of pids) kill(-pid, "SIGKILL");
      pids.clear();
    },
  };
}

/** Runs a program in a process group of its own and resolves with its exit code; 128 + n after a signal. */
export async function runProcess(options: ProcessOptions, groups: ProcessGroups): Promise<number> {
  const { clock, signal } = options;
  const [program = "", ...args] = options.command;
  if (signal.aborted) return 143;
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.environment,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const { pid } = child;
  if (pid !== undefined) groups.add(pid);
  const exit = Promise.withResolvers<number>();
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.once("error", (cause) =>
    exit.reject(new FireteactError("NOT_STARTED", `${program} could not be started`, { cause })),
  );
  child.once("exit", (code, name) => exit.resolve(code ?? (name === "SIGKILL" ? 137 : 143)));
  let killer = { cancel: (): void => undefined };
  const onAbort = (): void => {
    if (pid === undefined) return;
    kill(-pid, "SIGTERM");
    killer = clock.after(KILL_DELAY, () => kill(-pid, "SIGKILL"));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const outputs = [follow(child.stdout, options), follow(child.stderr, options)];
  try {
    const code = await exit.promise;
    const trailing = new AbortController();
    const pause = clock.sleep(TRAILING, trailing.signal).catch(() => undefined);
    await Promise.race([closed, pause]);
    trailing.abort();
    return code;
  } finally {
    killer.cancel();
    signal.removeEventListener("abort", onAbort);
    for (const leave of outputs) leave();
  }
}

/**
 * Hands over the stream's lines, and stops reading while the log has no room. What it returns ends that: the rest is
 * read and dropped, since a background program must not die of a pipe that nobody empties.
 */
function follow(stream: Readable, { onLine, log, masks }: ProcessOptions): () => void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  let left = false;
  const take = (text: string): void => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line.endsWith("\r") ? line.slice(0, -1) : line);
    if (rest.length <= LONGEST_LINE) return;
    // Cut where no secret can lie across, or its halves would be told.
    rest = masks.apply(rest);
    const at = Math.max(rest.length - masks.longest, 0);
    onLine(rest.slice(0, at));
    rest = rest.slice(at);
  };
  const onData = (chunk: Buffer): void => {
    take(decoder.write(chunk));
    stream.pause();
    void log.room().then(() => stream.resume());
  };
  const end = (): void => {
    if (left) return;
    left = true;
    const last = rest + decoder.end();
    if (last !== "") onLine(last);
  };
  stream.on("data", onData);
  stream.once("end", end);
  stream.on("error", end);
  return () => {
    stream.off("data", onData);
    end();
    stream.resume();
  };
}
