import { type Distrust, distrust } from "../base/trust.ts";
import { covers } from "./match.ts";
import type { PoolView } from "./plan-types.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import type { Pool, Runner } from "./types.ts";

/** Why a pool does not trust a job that its labels fit; undefined when it does, and of pools that ask for no trust. */
export function refusalBy({ trust, target }: Pick<Pool, "trust" | "target">, job: WaitingJob): Distrust | undefined {
  return trust === undefined ? undefined : distrust(trust, job.sightings.get(target) ?? {});
}

/**
 * Whether a runner may be given the job as far as trust goes. One that belongs to a repository serves only that one's
 * jobs, and only those that its pool trusts today.
 */
export function mayBeGiven(runner: Runner, job: WaitingJob, survey: Survey): boolean {
  const view = survey.pools.get(runner.pool);
  if (runner.repository === undefined && view?.pool.trust === undefined) return true;
  if (view?.pool.trust === undefined || runner.repository === undefined) return false;
  // Bound to it or not: what names no label was not meant for a host.
  if (job.labels.length === 0) return false;
  const sighting = job.sightings.get(runner.target);
  if (sighting?.repository?.toLowerCase() !== runner.repository.toLowerCase()) return false;
  return distrust(view.pool.trust, sighting) === undefined;
}

/** The pool whose labels fit a job that it did not see at its own target, since it is of no repository that it trusts. */
export function refusalFromAfar(job: WaitingJob, survey: Survey): { pool: string; refusal: Distrust } | undefined {
  for (const { pool } of survey.input.pools) {
    if (pool.trust === undefined || job.labels.length === 0 || !covers(pool.labels, job.labels)) continue;
    if (forgeOf(pool.target) !== forgeOf(job.job.target) || job.targets.has(pool.target)) continue;
    const { repository } = job.job;
    return { pool: pool.name, refusal: distrust(pool.trust, { repository }) ?? NOT_READ };
  }
  return undefined;
}

/** The first pool that would take the job if it trusted it, and why it does not. */
export function refusalOf(pools: PoolView[], job: WaitingJob): { pool: string; refusal: Distrust } | undefined {
  for (const { pool } of pools) {
    const refusal = refusalBy(pool, job);
    if (refusal !== undefined) return { pool: pool.name, refusal };
  }
  return undefined;
}

const NOT_READ: Distrust = { code: "origin-unknown", detail: "its repository's queue was not read yet" };

const forgeOf = (target: string): string => target.slice(0, target.lastIndexOf("#"));
