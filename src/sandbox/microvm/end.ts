import { statSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { FireteactError } from "../../base/errors.ts";
import { isAlive, kill, processes, signalProcess, worksIn } from "../../base/process.ts";
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
  const gone = await waitUntil(() => killMembers(record, directory) === 0, KILL_WAIT, clock);
  if (!gone) {
    const left = membersOf(record, directory).join(", ");
    throw new FireteactError("SANDBOX_STUCK", `Processes of a sandbox do not end although they were killed: ${left}`, {
      hint: "They wait in the kernel, usually for a disk; removal is tried again",
      facts: { pids: left },
    });
  }
}

/** Whether anything of the sandbox still runs. */
export function hasProcesses(record: SandboxRecord, directory: string): boolean {
  if (record.process !== undefined && isAlive(record.process)) return true;
  return membersOf(record, directory).length > 0;
}

function killMembers(record: SandboxRecord, directory: string): number {
  const members = membersOf(record, directory);
  for (const pid of members) kill(pid, "SIGKILL");
  return members.length;
}

/**
 * The sandbox's processes: those with its user id, and those of its session, which work in its directory. A session
 * number alone proves nothing once the shim is gone.
 */
function membersOf({ uid, process }: SandboxRecord, directory: string): number[] {
  const members: number[] = [];
  const place = statSync(directory, { throwIfNoEntry: false });
  for (const view of processes()) {
    const inSession = view.session === process?.pid && place !== undefined && worksIn(view.pid, place);
    if (inSession || (uid !== undefined && view.uid === uid)) members.push(view.pid);
  }
  return members;
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
