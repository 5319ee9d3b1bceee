import { newRunner } from "./creation.ts";
import type { Fate } from "./demand.ts";
import { type Draft, remove } from "./draft.ts";
import { hasLostJob } from "./jobless.ts";
import { inWords } from "./limits.ts";
import type { PoolView } from "./plan-types.ts";
import { advance } from "./progress.ts";
import type { Room } from "./room.ts";
import { isLive } from "./runner.ts";
import { isOutdated } from "./supply.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import type { Pool, Runner } from "./types.ts";

/** A pool after its jobs were given out. */
export interface Census {
  view: PoolView;
  /** Runners that hold a job. */
  busy: number;
  /** Runners that may still take one. */
  avail: number;
  /** Runners that this plan makes for jobs. */
  given: number;
  /** Avail runners without a job in view, fit for any. */
  unmatched: Runner[];
  /** Of the rest, those that would be made differently today; counted nowhere else. */
  outdated: Runner[];
}

/** Counts every pool whose forge can be relied on; where it cannot, scaling stands still. */
export function takeCensus(
  fates: ReadonlyMap<WaitingJob, Fate>,
  avail: Runner[],
  matches: ReadonlyMap<string, WaitingJob>,
  survey: Survey,
  draft: Draft,
): Census[] {
  const byPool = new Map<string, Census>();
  for (const view of survey.input.pools) {
    if (survey.isTrusted(view.pool.target)) {
      byPool.set(view.pool.name, { view, busy: 0, avail: 0, given: 0, unmatched: [], outdated: [] });
    }
  }
  for (const fate of fates.values()) {
    const census = fate.kind === "given" ? byPool.get(fate.pool.pool.name) : undefined;
    if (census !== undefined) census.given++;
  }
  for (const runner of survey.input.runners) {
    const census = byPool.get(runner.pool);
    if (census !== undefined && survey.holdsJob(runner) && !draft.leaving.has(runner.id)) census.busy++;
  }
  for (const runner of avail) {
    const census = byPool.get(runner.pool);
    if (census === undefined || draft.leaving.has(runner.id)) continue;
    if (!matches.has(runner.id) && isOutdated(runner, census.view)) {
      if (survey.isTrusted(runner.target)) census.outdated.push(runner);
      continue;
    }
    census.avail++;
    if (runner.handle === undefined && !matches.has(runner.id)) census.unmatched.push(runner);
  }
  return [...byPool.values()];
}

/** Records a new runner and begins its way in the same plan. */
export function create(pool: Pool, job: WaitingJob | undefined, survey: Survey, draft: Draft): Runner {
  const runner = newRunner(pool, job?.sightings.get(pool.target), survey.input);
  draft.take({ kind: "create", runner });
  advance(runner, job, survey, draft);
  return runner;
}

/**
 * Creates what the pool lacks of its minimum. Runners made for jobs count towards `minRunners`: it says how many there
 * are at least, while `minIdle` says how many of them wait for work. Returns how many it created.
 */
export function fillUp(census: Census, room: Room, survey: Survey, draft: Draft): number {
  const { view, busy, avail, given, unmatched } = census;
  const { minIdle, minRunners, trust } = view.pool;
  // It is registered at the repository of a job that waits, or not at all.
  if (trust !== undefined) return 0;
  const missing = Math.max(minIdle - unmatched.length, minRunners - busy - avail - given, 0);
  for (let made = 0; made < missing; made++) {
    if (room.obstacle(view) !== undefined || room.reserve(view.pool) !== undefined) return made;
    create(view.pool, undefined, survey, draft);
  }
  return missing;
}

/**
 * Removes runners that waited longer than the pool's idle age, as long as its minimum stays. Where several hosts serve a
 * forge, one that was made for a job which went to another host's runner is not kept at all.
 */
export function removeIdle(census: Census, survey: Survey, draft: Draft): void {
  const { view, busy, avail, given, unmatched } = census;
  const { minIdle, minRunners, name } = view.pool;
  let spare = Math.min(unmatched.length - minIdle, busy + avail + given - minRunners);
  const surplus = survey.input.fleet.hosts === 1 ? [] : unmatched.filter((runner) => hasLostJob(runner, survey, draft));
  for (const runner of surplus) {
    if (spare > 0 && remove(draft, runner, { reason: "job-gone", detail: "another host's runner took its job" }))
      spare--;
  }
  const idle = unmatched.filter((runner) => idleSince(runner) !== undefined);
  for (const runner of idle.sort((a, b) => (idleSince(a) ?? 0) - (idleSince(b) ?? 0))) {
    if (spare <= 0) return;
    if (draft.leaving.has(runner.id)) continue;
    const expires = (idleSince(runner) ?? 0) + runner.limits.idle;
    draft.wake(expires);
    if (expires > draft.now) continue;
    const detail = `pool ${name} had no job for it within ${inWords(runner.limits.idle)}`;
    if (remove(draft, runner, { reason: "idle-timeout", detail })) spare--;
  }
}

/** Since when a runner has been waiting, ready, for a job; undefined while it is still on its way. */
function idleSince(runner: Runner): number | undefined {
  const { agent, registration } = runner;
  if (agent.phase === "listening") return agent.since;
  return agent.phase === "up" && registration.phase === "none" ? agent.since : undefined;
}

/** Removes unmatched runners of pools that are gone. */
export function removeAbandoned(
  avail: Runner[],
  matches: ReadonlyMap<string, WaitingJob>,
  survey: Survey,
  draft: Draft,
): void {
  for (const runner of avail) {
    if (matches.has(runner.id) || survey.pools.has(runner.pool) || draft.leaving.has(runner.id)) continue;
    if (!survey.isTrusted(runner.target)) continue;
    remove(draft, runner, { reason: "outdated", detail: `pool ${runner.pool} is not in the configuration any more` });
  }
}

/**
 * Removes what would be made differently today, so that reload and upgrade take effect: as many as new ones are ready for,
 * above the pool's minimum. Where there is no room for a new one beside them, one at a time makes it.
 * @param made how many this plan creates in their place
 */
export function replaceOutdated(census: Census, made: number, room: Room, survey: Survey, draft: Draft): void {
  const { view, busy, avail, given, unmatched, outdated } = census;
  const { name, minIdle, minRunners } = view.pool;
  const retire = (runner: Runner): boolean =>
    remove(draft, runner, { reason: "outdated", detail: `pool ${name} or its image was changed` });
  for (const runner of outdated) if (idleSince(runner) === undefined) retire(runner);
  const old = outdated.filter((runner) => idleSince(runner) !== undefined).sort((a, b) => a.since - b.since);
  const ready = unmatched.filter((runner) => idleSince(runner) !== undefined).length;
  const wanted = Math.max(minIdle, minRunners - busy - given - (avail - unmatched.length), 0);
  const spare = Math.min(ready + old.length - wanted, old.length);
  if (spare > 0) for (const runner of old.slice(0, spare)) retire(runner);
  else if (made === 0 && ready === unmatched.length && lacksRoom(view, room) && !isGivingWay(name, survey)) {
    for (const runner of old.slice(0, 1)) retire(runner);
  }
}

function lacksRoom(view: PoolView, room: Room): boolean {
  const obstacle = room.obstacle(view);
  return obstacle === undefined ? !room.holds(view.pool) : obstacle.code === "pool-at-max";
}

/** Whether an outdated runner of the pool is on its way out, so that there will be room. */
function isGivingWay(pool: string, survey: Survey): boolean {
  return survey.input.runners.some(
    (runner) => runner.pool === pool && isLive(runner) && (runner.ending ?? runner.removal)?.reason === "outdated",
  );
}
