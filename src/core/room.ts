import type { Draft } from "./draft.ts";
import { inWords } from "./limits.ts";
import type { HostCapacity, PoolView, WaitCode } from "./plan-types.ts";
import { isAvailable, isLive, statusOf } from "./runner.ts";
import type { Survey } from "./survey.ts";
import type { DriverName, Pool, Runner } from "./types.ts";

export interface Obstacle {
  code: WaitCode;
  detail: string;
}

/** What pools and host may still hold; shrinks with every runner that the plan creates. */
export interface Room {
  /** Why the pool may not be given a job at all. */
  obstacle(view: PoolView): Obstacle | undefined;
  /** Whether `reserve` would succeed. */
  holds(pool: Pool): boolean;
  /** Reserves one runner's place; otherwise says, in one sentence, what the host lacks for it. */
  reserve(pool: Pool): string | undefined;
}

export function roomOf(survey: Survey, draft: Draft): Room {
  const { host, runners, strays } = survey.input;
  const live = new Map<string, number>();
  const unproven = new Map<string, number>();
  const left = { ...host, diskMib: host.disk?.mib ?? Number.POSITIVE_INFINITY };
  const count = (counts: Map<string, number>, pool: string) => counts.set(pool, (counts.get(pool) ?? 0) + 1);
  for (const runner of runners) {
    if (!isLive(runner)) continue;
    count(live, runner.pool);
    if (isOnItsWay(runner)) count(unproven, runner.pool);
    take(left, runner);
  }
  // A sandbox whose record was lost holds its place until it is adopted or gone.
  for (const stray of strays.sandboxes) {
    count(live, stray.pool);
    const view = survey.pools.get(stray.pool);
    if (view !== undefined) take(left, view.pool);
  }

  return {
    obstacle: (view) => {
      const { pool } = view;
      if (!view.usable)
        return { code: "pool-unusable", detail: `pool ${pool.name} cannot be used: ${view.detail ?? "unknown"}` };
      if (view.paused) return { code: "paused", detail: `pool ${pool.name} is paused` };
      const backing = backingOff(pool.name, unproven.get(pool.name) ?? 0, draft);
      if (backing !== undefined) return { code: "backing-off", detail: backing };
      if ((live.get(pool.name) ?? 0) < pool.maxRunners) return undefined;
      return { code: "pool-at-max", detail: `pool ${pool.name} has its maximum of ${pool.maxRunners} runners` };
    },
    holds: (pool) => lackOf(left, pool, host) === undefined,
    reserve: (pool) => {
      const lack = lackOf(left, pool, host);
      if (lack !== undefined) return lack;
      take(left, pool);
      count(live, pool.name);
      count(unproven, pool.name);
      return undefined;
    },
  };
}

interface Left {
  memoryMib: number;
  vcpus: number;
  diskMib: number;
  addresses?: number;
}

type Needs = Pick<Pool, "memoryMib" | "vcpus" | "driver"> & { diskMib?: number };

function take(left: Left, { memoryMib, vcpus, diskMib = 0, driver }: Needs): void {
  left.memoryMib -= memoryMib;
  left.vcpus -= vcpus;
  left.diskMib -= diskMib;
  if (left.addresses !== undefined && hasAddress(driver)) left.addresses -= 1;
}

function lackOf(left: Left, pool: Pool, { disk, addresses }: HostCapacity): string | undefined {
  if (disk !== undefined && (disk.mib < 0 || (pool.diskMib > 0 && left.diskMib < pool.diskMib))) {
    return `the host's disk has no room for another runner of pool ${pool.name}: ${disk.detail}`;
  }
  if (left.addresses !== undefined && left.addresses < 1 && hasAddress(pool.driver)) {
    return `all ${addresses} addresses that the host has for guests are in use: network.subnet is too small`;
  }
  if (left.memoryMib >= pool.memoryMib && left.vcpus >= pool.vcpus) return undefined;
  return `the host has no room for another runner of pool ${pool.name}, which needs ${pool.memoryMib} MiB and ${pool.vcpus} CPUs`;
}

const hasAddress = (driver: DriverName): boolean => driver === "qemu" || driver === "firecracker";

function isOnItsWay(runner: Runner): boolean {
  return isAvailable(runner) && statusOf(runner) === "starting";
}

/** After failures the pool waits, and then makes one runner only, until one came to its work. */
function backingOff(pool: string, unproven: number, draft: Draft): string | undefined {
  const backoff = draft.memory.pools[pool];
  if (backoff === undefined) return undefined;
  const times = backoff.failures === 1 ? "a failure" : `${backoff.failures} failures`;
  if (draft.now < backoff.until) {
    draft.wake(backoff.until);
    return `pool ${pool} waits ${inWords(backoff.until - draft.now)} more after ${times}: ${backoff.error}`;
  }
  return unproven > 0 ? `pool ${pool} tries one runner first after ${times}: ${backoff.error}` : undefined;
}
