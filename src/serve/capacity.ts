import { readdirSync, type StatsFs, statfsSync, statSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { dirname, join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { describe, ignore } from "../base/errors.ts";
import { diskDirectory, type Places } from "../base/names.ts";
import type { HostCapacity } from "../core/plan-types.ts";
import type { Settings } from "../core/settings.ts";
import { guestAddresses } from "../network/embedded/subnet.ts";

/** Memory that stays with the host when the configuration does not say. */
const RESERVED_MIB = 1024;
/** Virtual CPUs per real one: jobs wait for networks and disks more than they compute. */
const CPU_OVERCOMMIT = 4;
/** Scratch disks are holes until a guest writes, and few jobs fill theirs. */
const DISK_OVERCOMMIT = 4;
/** Below this nothing new is made: records, logs and the jobs that run need the rest. */
const KEPT_MIB = 512;
/** Milliseconds for which an answer about the disk is good, at least. */
const FRESH = 2_000;
/** So many times as long as it took to find out: with a thousand disks it takes a while. */
const WORTH = 1_000;

/** The file system of the scratch disks, as it was a moment ago. */
export interface Space {
  directory: string;
  freeMib: number;
  /** What scratch disks occupy already. */
  usedMib: number;
}

/** What all sandboxes together may use: what the configuration says, else what the machine has. */
export function capacity({ host, network }: Settings, space: Space | Error): HostCapacity {
  return {
    memoryMib: host.memoryMib ?? Math.max(machine.memoryMib - RESERVED_MIB, 256),
    vcpus: host.vcpus ?? machine.cpus * CPU_OVERCOMMIT,
    disk: diskCapacity(host.diskMib, space),
    addresses: guestAddresses(network.subnet),
  };
}

function diskCapacity(configured: number | undefined, space: Space | Error): NonNullable<HostCapacity["disk"]> {
  if (space instanceof Error) return { mib: -1, detail: `its free space cannot be read: ${describe(space)}` };
  const { directory, freeMib, usedMib } = space;
  const detail = `${freeMib} MiB are free in ${directory}`;
  if (freeMib < KEPT_MIB) return { mib: -1, detail: `${detail}, and ${KEPT_MIB} MiB are kept free` };
  return { mib: configured ?? (freeMib - KEPT_MIB + usedMib) * DISK_OVERCOMMIT, detail };
}

/** Asked at every plan, and slow to find out. */
const machine = { memoryMib: Math.floor(totalmem() / 2 ** 20), cpus: cpus().length };

/** Returns what tells the space for scratch disks, at most every other second anew: it is asked at every plan. */
export function watchSpace(places: Places, clock: Clock): () => Space | Error {
  let known: { until: number; space: Space | Error } | undefined;
  return () => {
    const at = clock.uptime();
    if (known === undefined || at >= known.until) {
      const space = readSpace(places);
      known = { space, until: at + Math.max(FRESH, (clock.uptime() - at) * WORTH) };
    }
    return known.space;
  };
}

/** The space for scratch disks now. */
export function readSpace(places: Places): Space | Error {
  const directory = dirname(diskDirectory(places, "any"));
  try {
    const { bavail, bsize } = statfsOf(directory);
    return { directory, freeMib: toMib(bavail * bsize), usedMib: toMib(occupied(directory)) };
  } catch (error) {
    return error instanceof Error ? error : new Error(describe(error));
  }
}

/** Of the directory, or of the nearest one above it that is there. */
function statfsOf(path: string): StatsFs {
  try {
    return statfsSync(path);
  } catch (error) {
    ignore("ENOENT")(error);
    return statfsOf(dirname(path));
  }
}

/** Bytes of the blocks that guests' disks have; those of the pristine ones are no guest's. */
function occupied(directory: string): number {
  let bytes = 0;
  for (const hex of namesIn(directory).filter((name) => /^[0-9a-f]{24}$/.test(name))) {
    for (const name of namesIn(join(directory, hex))) {
      bytes += (statSync(join(directory, hex, name), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
    }
  }
  return bytes;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR")(error) ?? [];
  }
}

const toMib = (bytes: number): number => Math.floor(bytes / 2 ** 20);
