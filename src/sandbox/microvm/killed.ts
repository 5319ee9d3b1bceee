import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { ignore, systemCode } from "../../base/errors.ts";
import type { SandboxRecord } from "./record.ts";

/** Milliseconds by which the kernel's times and ours may differ. */
const CLOCK_SKEW = 5_000;
/** Most records that are read of the kernel's log. */
const MOST_RECORDS = 50_000;

/** Who killed a sandbox's monitor, as far as the kernel tells: its out-of-memory killer, or nobody that it knows of. */
export function killedBy(record: SandboxRecord): string | undefined {
  const line = findInKernelLog(record);
  if (line?.startsWith("Memory cgroup out of memory") === true) {
    return "killed by signal 9: the kernel's out-of-memory killer ended it at a memory limit, most likely its own (its guest's memory and what the monitor may take)";
  }
  if (line !== undefined) {
    return "killed by signal 9: the kernel's out-of-memory killer ended it, since the host had no memory left";
  }
  const told = (record.cgroups ?? []).some((group) => countKills(group) > 0);
  return told ? "killed by signal 9: most likely by the kernel's out-of-memory killer, as its group tells" : undefined;
}

/** The line about a process of the sandbox's user, which is its own, in this sandbox's time. */
function findInKernelLog({ uid, since }: SandboxRecord): string | undefined {
  if (uid === undefined) return undefined;
  const pattern = new RegExp(`^(?:Memory cgroup out|Out) of memory: Killed process .* UID:${uid} `);
  let found: string | undefined;
  for (const { at, text } of kernelLog()) if (at >= since - CLOCK_SKEW && pattern.test(text)) found = text;
  return found;
}

/** The kernel's log from its beginning: one record a read. Nothing where it may not be read. */
function* kernelLog(): Generator<{ at: number; text: string }> {
  const file = tried(() => openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK));
  if (file === undefined) return;
  const buffer = Buffer.alloc(8_192);
  try {
    for (let count = 0; count < MOST_RECORDS; count++) {
      const length = readRecord(file, buffer);
      if (length === undefined) continue;
      if (length === 0) return;
      const [, at, text] = /^\d+,\d+,(\d+),[^;]*;(.*)/.exec(buffer.toString("utf8", 0, length)) ?? [];
      if (text !== undefined) yield { at: Number(at) / 1_000, text };
    }
  } finally {
    closeSync(file);
  }
}

/** Its length; 0 at the end, undefined where the record was overwritten before it was read. */
function readRecord(file: number, buffer: Buffer): number | undefined {
  try {
    return readSync(file, buffer, 0, buffer.length, null);
  } catch (error) {
    if (systemCode(error) === "EPIPE") return undefined;
    ignore("EAGAIN", "EINVAL", "EPERM")(error);
    return 0;
  }
}

/** How often the kernel killed in the group, whichever version it is of. */
function countKills(group: string): number {
  const texts = ["memory.events", "memory.oom_control"].map((name) =>
    tried(() => readFileSync(join(group, name), "utf8")),
  );
  return Number(/^oom_kill (\d+)$/m.exec(texts.join("\n"))?.[1] ?? 0);
}

function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    return ignore("ENOENT", "EACCES", "EPERM", "ENODEV")(error);
  }
}
