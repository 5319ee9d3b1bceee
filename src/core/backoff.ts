import type { Backoff, PlanMemory } from "./plan-types.ts";
import { retryKey, type Step } from "./steps.ts";

const FIRST = 5_000;
const LONGEST = 5 * 60_000;

/** Notes that a runner of the pool could not be made: the pool waits, twice as long each time. */
export function recordFailure(memory: PlanMemory, pool: string, error: string, now: number): PlanMemory {
  return { ...memory, pools: { ...memory.pools, [pool]: longer(memory.pools[pool], error, now) } };
}

/** Notes that a runner of the pool became ready: the pool is sound again. */
export function recordSuccess(memory: PlanMemory, pool: string): PlanMemory {
  return memory.pools[pool] === undefined ? memory : { ...memory, pools: without(memory.pools, pool) };
}

/** Notes how a repeatable step went: with an error it waits, twice as long each time; without, it is forgotten. */
export function recordRetry(memory: PlanMemory, step: Step, error: string | undefined, now: number): PlanMemory {
  const key = retryKey(step);
  if (error !== undefined)
    return { ...memory, retries: { ...memory.retries, [key]: longer(memory.retries[key], error, now) } };
  return memory.retries[key] === undefined ? memory : { ...memory, retries: without(memory.retries, key) };
}

/** Failures of one burst count once: what failed while it was already waiting does not wait longer for it. */
function longer(before: Backoff | undefined, error: string, now: number): Backoff {
  if (before !== undefined && now < before.until) return before;
  const failures = (before?.failures ?? 0) + 1;
  const wait = Math.min(FIRST * 2 ** Math.min(failures - 1, 20), LONGEST);
  return { failures, since: now, until: now + wait, error };
}

/** A record without one of its keys. */
export function without<V>(record: Record<string, V>, key: string): Record<string, V> {
  const { [key]: _, ...rest } = record;
  return rest;
}
