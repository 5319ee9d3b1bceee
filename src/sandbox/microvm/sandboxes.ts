import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { bootId, type Clock } from "../../base/clock.ts";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { Network } from "../../network/port.ts";
import type { SandboxInfo, SandboxSpec, StepContext } from "../port.ts";
import type { Cgroups } from "./cgroups.ts";
import { endProcesses, endUnrecorded, killMonitor } from "./end.ts";
import { HEX, placesOf, type SandboxPlaces } from "./places.ts";
import { readRecord, recordFile, type SandboxRecord, writeCondemned, writeRecord } from "./record.ts";
import { exitOf } from "./watch.ts";

/** The microVMs of one driver as the host shows them: directories, processes, networks and disks. */
export interface Sandboxes {
  places(hex: string): SandboxPlaces;
  /** Holds a directory for each sandbox's disks. */
  diskRoot: string;
  /** Puts a new sandbox on record, with its image's digest, before anything else of it is made. */
  begin(spec: SandboxSpec, image?: string): SandboxPlaces;
  /** Adds to the record what has to be taken apart, too. */
  update(hex: string, change: Partial<SandboxRecord>): void;
  list(known?: (hex: string) => boolean): Promise<SandboxInfo[]>;
  /** Kills the sandbox's monitor; the sandbox's end has this reason. */
  condemn(hex: string, reason: string): void;
  /** Ends and removes the sandbox, however far it was made. Twice is success. */
  remove(hex: string, context: StepContext): Promise<void>;
  /** Removes directories that a process which died left half made or half removed. */
  sweep(): Promise<void>;
}

/** QEMU needs about ten. */
const GRACE = 3_000;

export function createSandboxes(deps: {
  driver: string;
  places: Places;
  hostId: string;
  network: Pick<Network, "list" | "find" | "release">;
  /** Milliseconds a monitor has for ending after SIGTERM; 0 where it has nothing to do then. */
  graceMs?: number;
  /** Absent where monitors have no limits. */
  cgroups?: Pick<Cgroups, "list" | "remove">;
  clock: Clock;
}): Sandboxes {
  const { driver, network, cgroups, clock, graceMs = GRACE } = deps;
  const root = dirname(placesOf(deps.places, "0".repeat(24)).directory);
  const diskRoot = dirname(placesOf(deps.places, "0".repeat(24)).disks);
  const places = (hex: string) => placesOf(deps.places, hex);

  const begin = (spec: SandboxSpec, image?: string): SandboxPlaces => {
    const own = places(spec.hex);
    const hidden = join(root, `.${spec.hex}.new`);
    mkdirSync(root, { recursive: true, mode: 0o755 });
    rmSync(hidden, { recursive: true, force: true });
    try {
      mkdirSync(hidden, { mode: 0o755 });
      const { hex, pool, runnerId, memoryMib, vcpus } = spec;
      const begun = { since: clock.uptime(), boot: bootId() };
      writeRecord(hidden, { version: 1, driver, hex, pool, runnerId, memoryMib, vcpus, image, ...begun });
      // No other process, and no later one, sees the directory without its record. Fails where there is one.
      renameSync(hidden, own.directory);
    } catch (error) {
      // Without reading the directory: there may be no file to be had for that.
      rmSync(recordFile(hidden), { force: true });
      if (existsSync(hidden)) rmdirSync(hidden);
      throw error;
    }
    return own;
  };

  const update = (hex: string, change: Partial<SandboxRecord>) => {
    const { directory } = places(hex);
    const record = readRecord(directory);
    if (record === undefined || record === "damaged") throw new Error(`sandbox ${hex} has no record`);
    writeRecord(directory, { ...record, ...change });
  };

  const list = async (known: (hex: string) => boolean = () => false): Promise<SandboxInfo[]> => {
    const found = new Map<string, SandboxInfo>();
    const foreign = new Set<string>();
    for (const hex of hexesIn(root)) {
      if (known(hex)) continue;
      const record = readRecord(places(hex).directory);
      if (record === undefined) continue;
      if (record !== "damaged" && record.driver !== driver) foreign.add(hex);
      else found.set(hex, record === "damaged" ? remains(hex) : infoOf(record, places(hex).directory));
    }
    for (const hex of [...hexesIn(diskRoot), ...(await network.list()), ...(cgroups?.list() ?? [])]) {
      if (!found.has(hex) && !foreign.has(hex) && !known(hex)) found.set(hex, remains(hex));
    }
    return [...found.values()].filter((info) => info.hex.startsWith(deps.hostId));
  };

  const remove = async (hex: string, context: StepContext): Promise<void> => {
    const { directory, disks } = places(hex);
    const record = readRecord(directory);
    if (record !== undefined && record !== "damaged") {
      await context.step("end processes", () => endProcesses(record, directory, { clock, graceMs }));
      // With the network its user id goes to the next sandbox, which a second try must not touch.
      update(hex, { process: undefined, uid: undefined });
    } else if (record === "damaged") {
      const uid = (await network.find(hex))?.owner;
      await context.step("end processes", () => endUnrecorded(uid, directory, clock));
    }
    await cgroups?.remove(hex);
    await context.step("release network", () => network.release(hex));
    await context.step("remove files", async () => {
      await rm(disks, { recursive: true, force: true });
      // Hidden first: without its record the rest of the directory could not be told from another driver's.
      const hidden = join(root, `.${hex}.gone`);
      await rm(hidden, { recursive: true, force: true });
      await rename(directory, hidden).catch(ignore("ENOENT"));
      await rm(hidden, { recursive: true, force: true });
    });
  };

  const condemn = (hex: string, reason: string) => {
    const { directory } = places(hex);
    const record = readRecord(directory);
    if (record === undefined || record === "damaged") return;
    writeCondemned(directory, reason);
    killMonitor(record);
  };

  const sweep = async () => {
    for (const name of namesIn(root)) {
      // Making one takes no turn of the event loop, so what is hidden here has no maker any more.
      if (/^\.[0-9a-f]{24}\.new$/.test(name)) await rm(join(root, name), { recursive: true, force: true });
      if (/^\.[0-9a-f]{24}\.gone$/.test(name)) await rm(join(root, name), { recursive: true, force: true });
    }
  };

  return { places, diskRoot, begin, update, list, condemn, remove, sweep };
}

/** What is left without a record: only fit for removal. */
const remains = (hex: string): SandboxInfo => ({ hex, pool: "", runnerId: "", state: "partial" });

function infoOf(record: SandboxRecord, directory: string): SandboxInfo {
  const exit = exitOf(directory);
  const begun = record.process !== undefined;
  return {
    hex: record.hex,
    pool: record.pool,
    runnerId: record.runnerId,
    state: exit !== undefined ? "exited" : begun ? "running" : "partial",
    ...(exit === undefined ? {} : { exit }),
    ...(record.boot === bootId() ? { startedAt: record.since } : {}),
    ...(record.address === undefined ? {} : { address: record.address }),
  };
}

const hexesIn = (directory: string): string[] => namesIn(directory).filter((name) => HEX.test(name));

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
}
