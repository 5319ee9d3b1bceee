import { type FSWatcher, watch } from "node:fs";
import { constants } from "node:os";
import { type Clock, inStep, type Timer } from "../../base/clock.ts";
import { ignore } from "../../base/errors.ts";
import { isTaken } from "../../base/process.ts";
import type { SandboxExit } from "../../core/types.ts";
import { hasProcesses } from "./end.ts";
import { meaningOf } from "./exit-codes.ts";
import { killedBy } from "./killed.ts";
import { panicIn } from "./panic.ts";
import { EXIT_FILE, type RecordedExit, readCondemned, readExit, readRecord, type SandboxRecord } from "./record.ts";

/** Milliseconds between two looks at the processes, which say nothing when they are killed. */
const POLL = 2_000;
/**
 * All but every so manieth look only asks whether the shim's number is in use: there may be a thousand sandboxes, and
 * their records do not change by themselves.
 */
const WHOLE_LOOK = 30;

/**
 * Calls back once when the sandbox in the directory ends, also when it has already, whichever process started it.
 * Returns a function that stops watching.
 */
export function watchExit(directory: string, clock: Clock, onExit: (exit: SandboxExit) => void): () => void {
  let done = false;
  let timer: Timer | undefined;
  let watcher: FSWatcher | undefined;

  const stop = () => {
    done = true;
    timer?.cancel();
    watcher?.close();
  };
  const look = () => {
    if (done) return;
    const exit = exitOf(directory);
    if (exit === undefined) return;
    stop();
    onExit(exit);
  };
  let shim: number | undefined;
  let polls = 0;
  const poll = () => {
    if (polls++ % WHOLE_LOOK === 0 || shim === undefined || !isTaken(shim)) {
      look();
      shim = shimOf(directory);
    }
    if (!done) timer = clock.after(inStep(clock, POLL), poll);
  };

  watcher = watchDirectory(directory, look);
  // Never from within this call: the caller does not hold what stops the watch yet.
  timer = clock.after(0, poll);
  return stop;
}

function shimOf(directory: string): number | undefined {
  const record = readRecord(directory);
  return record === undefined || record === "damaged" ? undefined : record.process?.pid;
}

/** How the sandbox in the directory ended; undefined while it runs or is being made. */
export function exitOf(directory: string): SandboxExit | undefined {
  const record = readRecord(directory);
  if (record === undefined) return unknownExit("it was removed");
  const exit = readExit(directory);
  if (exit !== undefined) return sandboxExit(exit, record, directory);
  if (record === "damaged") return unknownExit("its record is damaged");
  if (record.process === undefined || hasProcesses(record, directory)) return undefined;
  // It may have ended, and said so, since we looked.
  const last = readExit(directory);
  return last === undefined
    ? unknownExit("its processes are gone and left no status")
    : sandboxExit(last, record, directory);
}

function sandboxExit({ status, at }: RecordedExit, record: SandboxRecord | "damaged", directory: string): SandboxExit {
  const meaning = record === "damaged" ? undefined : meaningOf(record.driver, status);
  const killed = status === 128 + constants.signals.SIGKILL && record !== "damaged";
  const reason =
    readCondemned(directory) ?? meaning ?? (killed ? killedBy(record) : status === 0 ? panicIn(directory) : undefined);
  const how =
    status > 128 && meaning === undefined
      ? { code: null, signal: signalName(status - 128) }
      : { code: status, signal: null };
  return { ...how, ...(reason === undefined ? {} : { reason }), at };
}

const unknownExit = (reason: string): SandboxExit => ({ code: null, signal: null, reason, at: Date.now() });

const signalName = (number: number): string =>
  Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;

/** The poll alone would do: where the system has no watches left it does. */
function watchDirectory(directory: string, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, { persistent: false }, (_, name) => {
      if (name === EXIT_FILE || name === null) onChange();
    });
    watcher.on("error", onChange);
    return watcher;
  } catch (error) {
    return ignore("ENOENT", "ENOSPC", "EMFILE")(error);
  }
}
