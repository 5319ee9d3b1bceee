import type { Draft } from "./draft.ts";
import { inWords } from "./limits.ts";
import type { PoolView, WaitCode } from "./plan-types.ts";
import { isAvailable, isLive, statusOf } from "./runner.ts";
import type { Survey } from "./survey.ts";
import type { Pool, Runner } from "./types.ts";

export interface Obstacle {
  code: WaitCode;
  detail: string;
}

/** What pools and host may still hold; shrinks with every runner that the plan creates. */
export interface Room {
  /** Why the pool may not be given a job at all. */
  obstacle(view: PoolView): Obstacle | undefined;
  /** Reserves one runner's place; false when the host has no memory or CPU for it. */
  reserve(pool: Pool): boolean;
}

export function roomOf(survey: Survey, draft: Draft): Room {
  const { host, runners } = survey.input;
  const live = new Map<string, number>();
  const unproven = new Map<string, number>();
  let memoryMib = host.memoryMib;
  let vcpus = host.vcpus;
  const count = (counts: Map<string, number>, pool: string) => counts.set(pool, (counts.get(pool) ?? 0) + 1);
  for (const runner of runners) {
    if (!isLive(runner)) continue;
    count(live, runner.pool);
    if (isOnItsWay(runner)) count(unproven, runner.pool);
    memoryMib -= runner.memoryMib;
    vcpus -= runner.vcpus;
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
    reserve: (pool) => {
      if (memoryMib < pool.memoryMib || vcpus < pool.vcpus) return false;
      memoryMib -= pool.memoryMib;
      vcpus -= pool.vcpus;
      count(live, pool.name);
      count(unproven, pool.name);
      return true;
    },
  };
}

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
