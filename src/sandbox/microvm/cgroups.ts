import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { describe, ignore, systemCode } from "../../base/errors.ts";
import { HEX } from "./places.ts";

/**
 * Control groups of monitors: the kernel holds each, with all its threads, to the guest's memory and a little more. What
 * a guest makes its monitor take beyond that ends this guest, and not whatever else the host runs.
 */
export interface Cgroups {
  /** Why there are no such limits on this host; undefined where there are. */
  problem(): string | undefined;
  /** Makes a sandbox's groups and returns their directories; none where the host has no limits to set. */
  make(hex: string, limits: { memoryMib: number; tasks: number }): string[];
  /** Hexes of all sandboxes that have groups here. */
  list(): string[];
  /** Once no process is in them. Twice is success. */
  remove(hex: string): Promise<void>;
}

/** One hierarchy: where our groups are in it, and what is written into each. */
interface Hierarchy {
  root: string;
  controllers: readonly string[];
  unified: boolean;
  limits: (limits: { memoryMib: number; tasks: number }) => [file: string, value: string][];
}

/** Milliseconds in which the last process of a group that was killed is gone from it. */
const EMPTY_WAIT = 2_000;

/** @param mounts What /proc/self/mountinfo holds. */
export function createCgroups(hostId: string, clock: Clock, mounts = readText("/proc/self/mountinfo")): Cgroups {
  const hierarchies = findHierarchies(mounts);
  const parent = ({ root }: Hierarchy): string => join(root, `fireteact-${hostId}`);
  let problem = hierarchies.length === 0 ? "no control groups with the controllers memory and pids are mounted" : "";

  const make: Cgroups["make"] = (hex, limits) => {
    const made: string[] = [];
    try {
      for (const hierarchy of hierarchies) {
        const above = parent(hierarchy);
        mkdirSync(above, { recursive: true });
        if (hierarchy.unified) for (const place of [hierarchy.root, above]) delegate(place, hierarchy.controllers);
        const own = join(above, hex);
        mkdirSync(own, { recursive: true });
        made.push(own);
        for (const [file, value] of hierarchy.limits(limits)) writeFileSync(join(own, file), value);
      }
      problem = hierarchies.length === 0 ? problem : "";
      return made;
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      problem = describe(error);
      for (const own of made) rmdirSync(own);
      hierarchies.forEach((hierarchy) => removeIfEmpty(parent(hierarchy)));
      return [];
    }
  };

  return {
    problem: () => (problem === "" ? undefined : problem),
    make,
    list: () => hierarchies.flatMap((hierarchy) => namesIn(parent(hierarchy)).filter((name) => HEX.test(name))),
    async remove(hex) {
      for (const hierarchy of hierarchies) {
        await removeGroup(join(parent(hierarchy), hex), clock);
        removeIfEmpty(parent(hierarchy));
      }
    },
  };
}

/** Whether limits can be set, found out by setting some for nobody. */
export function checkCgroups(hostId: string, clock: Clock): string | undefined {
  const cgroups = createCgroups(hostId, clock);
  const nobody = "0".repeat(24);
  const made = cgroups.make(nobody, { memoryMib: 64, tasks: 16 });
  for (const own of made) {
    rmdirSync(own);
    removeIfEmpty(join(own, ".."));
  }
  return cgroups.problem();
}

/** The old hierarchies where they have what is needed, since a controller is in one place only; else the unified one. */
function findHierarchies(mounts: string): Hierarchy[] {
  const found = mounts.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [type, , options = ""] = after.split(" ");
    const root = before.split(" ")[4];
    return root === undefined || type?.startsWith("cgroup") !== true
      ? []
      : [{ root, type, options: options.split(",") }];
  });
  const old = (controller: string) =>
    found.find(({ type, options }) => type === "cgroup" && options.includes(controller));
  const memory = old("memory");
  const pids = old("pids");
  if (memory !== undefined) {
    const limit = (mib: number) => String(mib * 2 ** 20);
    return [
      hierarchy(memory.root, ["memory"], ({ memoryMib }) => [["memory.limit_in_bytes", limit(memoryMib)]]),
      ...(pids === undefined ? [] : [hierarchy(pids.root, ["pids"], ({ tasks }) => [["pids.max", String(tasks)]])]),
    ];
  }
  const root = found.find(({ type }) => type === "cgroup2")?.root;
  if (root === undefined || !/\bmemory\b/.test(readText(join(root, "cgroup.controllers")))) return [];
  const limits: Hierarchy["limits"] = ({ memoryMib, tasks }) => [
    ["memory.max", String(memoryMib * 2 ** 20)],
    ["pids.max", String(tasks)],
  ];
  return [{ root, controllers: ["memory", "pids"], unified: true, limits }];
}

const hierarchy = (root: string, controllers: string[], limits: Hierarchy["limits"]): Hierarchy => ({
  root,
  controllers,
  unified: false,
  limits,
});

/** Lets groups below have the controllers; a write that changes nothing may be refused, so there is none. */
function delegate(place: string, controllers: readonly string[]): void {
  const file = join(place, "cgroup.subtree_control");
  const here = readText(file).trim().split(" ");
  const missing = controllers.filter((name) => !here.includes(name));
  if (missing.length > 0) writeFileSync(file, missing.map((name) => `+${name}`).join(" "));
}

async function removeGroup(directory: string, clock: Clock): Promise<void> {
  const end = clock.uptime() + EMPTY_WAIT;
  for (;;) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return;
      if (systemCode(error) !== "EBUSY" || clock.uptime() >= end) throw error;
    }
    await clock.sleep(10);
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    ignore("ENOENT", "ENOTDIR", "EBUSY", "ENOTEMPTY", "EROFS", "EACCES")(error);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR")(error) ?? [];
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    ignore("ENOENT", "EACCES")(error);
    return "";
  }
}
