import { newRunner } from "./creation.ts";
import type { Fate } from "./demand.ts";
import { type Draft, remove } from "./draft.ts";
import { hasLostJob } from "./jobless.ts";
import { inWords } from "./limits.ts";
import type { PoolView } from "./plan-types.ts";
import { advance } from "./progress.ts";
import type { Room } from "./room.ts";
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
      byPool.set(view.pool.name, { view, busy: 0, avail: 0, given: 0, unmatched: [] });
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
 * are at least, while `minIdle` says how many of them wait for work.
 */
export function fillUp(census: Census, room: Room, survey: Survey, draft: Draft): void {
  const { view, busy, avail, given, unmatched } = census;
  const { minIdle, minRunners } = view.pool;
  const missing = Math.max(minIdle - unmatched.length, minRunners - busy - avail - given, 0);
  for (let made = 0; made < missing; made++) {
    if (room.obstacle(view) !== undefined || room.reserve(view.pool) !== undefined) return;
    create(view.pool, undefined, survey, draft);
  }
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

/** Removes unmatched runners that today's configuration would not make like this: so reload and upgrade take effect. */
export function removeOutdated(
  avail: Runner[],
  matches: ReadonlyMap<string, WaitingJob>,
  survey: Survey,
  draft: Draft,
): void {
  for (const runner of avail) {
    if (matches.has(runner.id) || !survey.isTrusted(runner.target) || draft.leaving.has(runner.id)) continue;
    const view = survey.pools.get(runner.pool);
    if (view === undefined) {
      remove(draft, runner, { reason: "outdated", detail: `pool ${runner.pool} is not in the configuration any more` });
    } else if (isOutdated(runner, view)) {
      remove(draft, runner, { reason: "outdated", detail: `pool ${runner.pool} was changed` });
    }
  }
}
