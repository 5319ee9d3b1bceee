import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { kill } from "../base/process.ts";
import { commandAs, type Identity } from "./identity.ts";
import { readLines } from "./lines.ts";

interface ChildOptions {
  command: string[];
  cwd: string;
  environment: Record<string, string>;
  identity: Identity;
  onLine: (line: string) => void;
  /** JSON lines from the child's descriptor 3; without it there is none. */
  onRecord?: (line: string) => void;
  clock: Clock;
  log: Logger;
}

export interface ChildEnd {
  /** 128 + signal where a signal ended it, as a shell says it. */
  code: number;
  signal?: NodeJS.Signals;
}

/** A program in a process group of its own. */
export interface Child {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Resolves once, after the last line was handed over. Never rejects. */
  readonly ended: Promise<ChildEnd>;
}

const LONGEST_LINE = 8 * 1024;
const LONGEST_RECORD = 64 * 1024;
/** How long output may trail the end of the program, for example from something it left running. */
const TRAILING = 1_000;
const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** Starts the program as the identity. Rejects with `ENGINE_NOT_STARTED` when there is no such program. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { command, ids } = commandAs(options.identity, options.command, options.log);
  const [program = "", ...args] = command;
  const records = options.onRecord === undefined ? [] : ["pipe" as const];
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.environment,
    stdio: ["ignore", "pipe", "pipe", ...records],
    detached: true,
    ...ids,
  });
  const outputs = child.stdio.slice(1).filter((stream) => stream !== null && stream !== undefined) as Readable[];
  readLines(outputs[0] as Readable, LONGEST_LINE, options.onLine);
  readLines(outputs[1] as Readable, LONGEST_LINE, options.onLine);
  if (options.onRecord !== undefined) readLines(outputs[2] as Readable, LONGEST_RECORD, options.onRecord);

  const started = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<ChildEnd>();
  child.once("spawn", started.resolve);
  child.once("error", (cause) => {
    const message = `the engine ${options.command[0]} could not be started`;
    started.reject(new FireteactError("ENGINE_NOT_STARTED", message, { cause }));
  });
  child.once("exit", (code, signal) => {
    const end = signal === null ? { code: code ?? 1 } : { code: 128 + (SIGNAL_NUMBERS[signal] ?? 0), signal };
    const timer = options.clock.after(TRAILING, () => {
      for (const stream of outputs) stream.destroy();
    });
    child.once("close", () => {
      timer.cancel();
      ended.resolve(end);
    });
  });
  await started.promise;
  // Undefined only where spawning failed.
  const pid = child.pid as number;
  return { pid, ended: ended.promise, kill: (signal) => void kill(-pid, signal) };
}
