import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
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
  make(hex: string, limits: CgroupLimits): string[];
  /** What is written into those groups, for a program that sets up groups itself. */
  settings(limits: CgroupLimits): CgroupSettings;
  /** Hexes of all sandboxes that have groups here. */
  list(): string[];
  /** Once no process is in them. Twice is success. */
  remove(hex: string): Promise<void>;
}

export interface CgroupLimits {
  memoryMib: number;
  tasks: number;
  /** The guest's processors; its monitor gets one more. Absent: as much as is free. */
  vcpus?: number;
}

export interface CgroupSettings {
  version: 1 | 2;
  /** Name of the group, in each hierarchy, that holds the sandboxes' own. */
  parent: string;
  values: Setting[];
}

type Setting = [file: string, value: string];

/** One hierarchy: where our groups are in it, and what is written into each; nothing means that there is none. */
interface Hierarchy {
  root: string;
  unified: boolean;
  limits: (limits: CgroupLimits) => Setting[];
}

/** Microseconds over which processor time is counted: the kernel's default. */
const CPU_PERIOD = 100_000;

/** Milliseconds in which the last process of a group that was killed is gone from it. */
const EMPTY_WAIT = 2_000;

/** @param mounts What /proc/self/mountinfo holds. */
export function createCgroups(hostId: string, clock: Clock, mounts = readText("/proc/self/mountinfo")): Cgroups {
  const hierarchies = findHierarchies(mounts);
  const parentName = `fireteact-${hostId}`;
  const parent = ({ root }: Hierarchy): string => join(root, parentName);
  let problem = hierarchies.length === 0 ? "no control groups with the controllers memory and pids are mounted" : "";

  const make: Cgroups["make"] = (hex, limits) => {
    const made: string[] = [];
    try {
      for (const hierarchy of hierarchies) {
        const values = hierarchy.limits(limits);
        if (values.length === 0) continue;
        const above = parent(hierarchy);
        mkdirSync(above, { recursive: true });
        if (hierarchy.unified) for (const place of [hierarchy.root, above]) delegate(place, controllersOf(values));
        const own = join(above, hex);
        mkdirSync(own, { recursive: true });
        made.push(own);
        for (const [file, value] of values) writeFileSync(join(own, file), value);
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
    settings: (limits) => ({
      version: hierarchies.some(({ unified }) => unified) ? 2 : 1,
      parent: parentName,
      values: hierarchies.flatMap((hierarchy) => hierarchy.limits(limits)),
    }),
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
    found.find(({ type, options }) => type === "cgroup" && options.includes(controller))?.root;
  if (old("memory") !== undefined) {
    // Not every kernel can limit processor time.
    const cpu = [old("cpu")].find((root) => root !== undefined && existsSync(join(root, "cpu.cfs_quota_us")));
    return [
      hierarchy(old("memory"), ({ memoryMib }) => [["memory.limit_in_bytes", bytes(memoryMib)]]),
      hierarchy(old("pids"), ({ tasks }) => [["pids.max", String(tasks)]]),
      hierarchy(cpu, ({ vcpus }) =>
        vcpus === undefined
          ? []
          : [
              ["cpu.cfs_period_us", String(CPU_PERIOD)],
              ["cpu.cfs_quota_us", String(quota(vcpus))],
            ],
      ),
    ].flat();
  }
  const root = found.find(({ type }) => type === "cgroup2")?.root;
  const controllers = root === undefined ? [] : readText(join(root, "cgroup.controllers")).trim().split(" ");
  if (root === undefined || !controllers.includes("memory")) return [];
  const limits: Hierarchy["limits"] = ({ memoryMib, tasks, vcpus }) => [
    ["memory.max", bytes(memoryMib)],
    ["pids.max", String(tasks)],
    ...(vcpus === undefined || !controllers.includes("cpu")
      ? []
      : [["cpu.max", `${quota(vcpus)} ${CPU_PERIOD}`] satisfies Setting]),
  ];
  return [{ root, unified: true, limits }];
}

const hierarchy = (root: string | undefined, limits: Hierarchy["limits"]): Hierarchy[] =>
  root === undefined ? [] : [{ root, unified: false, limits }];

const bytes = (mib: number): string => String(mib * 2 ** 20);
const quota = (vcpus: number): number => (vcpus + 1) * CPU_PERIOD;
const controllersOf = (values: Setting[]): string[] => [
  ...new Set(values.map(([file]) => file.slice(0, file.indexOf(".")))),
];

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
