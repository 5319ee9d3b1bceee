import { closeSync, openSync, readdirSync, readSync, type Stats, statSync } from "node:fs";
import { bootId } from "./clock.ts";
import { ignore, systemCode } from "./errors.ts";

/**
 * A process, told apart from a later one with the same number: a pid is used again, a pid with its start time in one
 * boot of the host is not.
 */
export interface ProcessIdentity {
  pid: number;
  /** Start time in clock ticks since boot, as /proc has it. */
  start: number;
  /** The boot in which it runs, see `bootId`. */
  boot: string;
}

/** Who has this pid now; undefined when nobody has, or only a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined || isDead(stat.state) ? undefined : { pid, start: stat.start, boot: bootId() };
}

/** Whether the process still runs. A zombie does not, though it can still be signalled. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return stat !== undefined && stat.start === identity.start && !isDead(stat.state) && identity.boot === bootId();
}

/**
 * Sends a signal to the process, or to its whole group, of which it must be the leader. Returns whether it was sent:
 * false when the process is gone, whoever has its number now.
 */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals, target: "process" | "group"): boolean {
  if (!isAlive(identity)) return false;
  return kill(target === "group" ? -identity.pid : identity.pid, signal);
}

/** Sends a signal to a pid that has just been found; false when it is gone meanwhile. */
export function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    ignore("ESRCH")(error);
    return false;
  }
}

/** Whether anybody has this pid, be it a zombie; a hundred times cheaper than finding out who. */
export function isTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    ignore("ESRCH", "EPERM")(error);
    return systemCode(error) === "EPERM";
  }
}

/** A process as a search sees it. */
export interface ProcessView {
  pid: number;
  /** Real user id. */
  uid: number;
  session: number;
}

/** Every living process that can be looked at, except zombies. Costs a few microseconds a process. */
export function* processes(): Generator<ProcessView> {
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const text = readProcFile(pid, "status");
    if (text === undefined) continue;
    const field = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, "m").exec(text)?.[1] ?? "";
    if (!isDead(field("State"))) yield { pid, uid: Number(field("Uid")), session: Number(field("NSsid")) };
  }
}

/** Whether a process works in the directory, by whatever name, also when it has been renamed or deleted since. */
export function worksIn(pid: number, directory: Stats): boolean {
  try {
    const { dev, ino } = statSync(`/proc/${pid}/cwd`);
    return dev === directory.dev && ino === directory.ino;
  } catch (error) {
    return ignore("ENOENT", "ESRCH", "EACCES")(error) ?? false;
  }
}

/** Whether a process has a controlling terminal: somebody sits at it. */
export const hasTerminal = (pid: number): boolean => (readStat(pid)?.terminal ?? 0) !== 0;

interface Stat {
  state: string;
  /** Device number of the controlling terminal, 0 for none. */
  terminal: number;
  start: number;
}

/** Field 3 is the state, field 7 the terminal, field 22 the start time; the name before them may hold spaces and brackets. */
function readStat(pid: number): Stat | undefined {
  const text = readProcFile(pid, "stat");
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", terminal: Number(fields[4]), start: Number(fields[19]) };
}

/** What is read of a process is shorter; searches look at thousands of files. */
const buffer = Buffer.allocUnsafeSlow(8_192);

function readProcFile(pid: number, name: string): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(`/proc/${pid}/${name}`, "r");
    return buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0));
  } catch (error) {
    return ignore("ENOENT", "ESRCH", "EACCES")(error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

const isDead = (state: string): boolean => state === "Z" || state === "X" || state === "x";
