import { statSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { FireteactError } from "../../base/errors.ts";
import { hasTerminal, isAlive, kill, type ProcessView, processes, signalProcess, worksIn } from "../../base/process.ts";
import type { SandboxRecord } from "./record.ts";

interface EndOptions {
  clock: Clock;
  /** Milliseconds that the monitor has for ending by itself. */
  graceMs: number;
}

/** Milliseconds after which a process that was killed and is still there is reported: it hangs in the kernel. */
const KILL_WAIT = 10_000;

/**
 * Ends every process of a sandbox: asks the group, then kills what is left, and returns when nothing is. Only processes
 * that are certainly the sandbox's are touched, never one that got a number of theirs later.
 *
 * @throws FireteactError `SANDBOX_STUCK` when a killed process does not go away.
 */
export async function endProcesses(record: SandboxRecord, directory: string, { clock, graceMs }: EndOptions) {
  const { process } = record;
  if (process !== undefined && signalProcess(process, "SIGTERM", "group")) {
    await waitUntil(() => !isAlive(process), graceMs, clock);
    // The group is the shim's as long as the shim is there.
    signalProcess(process, "SIGKILL", "group");
  }
  const since = performance.now();
  const gone = await waitUntil(() => killMembers(record, directory, since) === 0, KILL_WAIT, clock);
  if (!gone) throw stuck(membersOf(record, directory, since));
}

function stuck(pids: number[]): FireteactError {
  const left = pids.join(", ");
  return new FireteactError("SANDBOX_STUCK", `Processes of a sandbox do not end although they were killed: ${left}`, {
    hint: "They wait in the kernel, usually for a disk; removal is tried again",
    facts: { pids: left },
  });
}

/** Kills the sandbox's monitor; who runs it records its end. */
export function killMonitor({ uid }: SandboxRecord): void {
  if (uid === undefined) return;
  for (const view of processes()) if (view.uid === uid) kill(view.pid, "SIGKILL");
}

/**
 * Kills what is left of a sandbox whose record is lost: processes of its user, where that is known, and those that work
 * in its directory without a terminal, as nobody else does.
 *
 * @throws FireteactError `SANDBOX_STUCK`
 */
export async function endUnrecorded(uid: number | undefined, directory: string, clock: Clock): Promise<void> {
  const place = statSync(directory, { throwIfNoEntry: false });
  const find = () =>
    Array.from(processes()).filter((view) => {
      if (uid !== undefined && view.uid === uid) return true;
      return place !== undefined && worksIn(view.pid, place) && !hasTerminal(view.pid);
    });
  const killAll = (): boolean => {
    const left = find();
    for (const { pid } of left) kill(pid, "SIGKILL");
    return left.length === 0;
  };
  if (await waitUntil(killAll, KILL_WAIT, clock)) return;
  throw stuck(find().map(({ pid }) => pid));
}

/** Whether anything of the sandbox still runs. */
export function hasProcesses(record: SandboxRecord, directory: string): boolean {
  if (record.process !== undefined && isAlive(record.process)) return true;
  return membersOf(record, directory, performance.now()).length > 0;
}

function killMembers(record: SandboxRecord, directory: string, since: number): number {
  const members = membersOf(record, directory, since);
  for (const pid of members) kill(pid, "SIGKILL");
  return members.length;
}

/**
 * The sandbox's processes: those with its user id, and those of its session, which work in its directory. A session
 * number alone proves nothing once the shim is gone.
 */
function membersOf({ uid, process }: SandboxRecord, directory: string, since: number): number[] {
  const members: number[] = [];
  const place = statSync(directory, { throwIfNoEntry: false });
  for (const view of search(since)) {
    const inSession = view.session === process?.pid && place !== undefined && worksIn(view.pid, place);
    if (inSession || (uid !== undefined && view.uid === uid)) members.push(view.pid);
  }
  return members;
}

/** A search of all processes: when it began, how long it took, what it found. */
let last = { at: Number.NEGATIVE_INFINITY, cost: 0, found: [] as ProcessView[] };

/**
 * All processes, as they were at `since` or later. Where many sandboxes end at once they share searches, which take a
 * sixth of the time at most: who has no process in one search has none later, since only its own could make one.
 */
function search(since: number): readonly ProcessView[] {
  const at = performance.now();
  if (last.at >= since && at - last.at < 6 * last.cost) return last.found;
  const found = [...processes()];
  last = { at, cost: performance.now() - at, found };
  return found;
}

/** Looks often at first, since a monitor ends within milliseconds. */
async function waitUntil(condition: () => boolean, milliseconds: number, clock: Clock): Promise<boolean> {
  const end = clock.uptime() + milliseconds;
  for (let pause = 2; ; pause = Math.min(pause * 1.5, 100)) {
    if (condition()) return true;
    if (clock.uptime() >= end) return false;
    await clock.sleep(pause);
  }
}
