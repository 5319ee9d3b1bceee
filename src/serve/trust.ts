import { type Distrust, distrust } from "../base/trust.ts";
import type { ForgeView } from "../core/plan-types.ts";
import type { PoolSettings, Settings } from "../core/settings.ts";
import type { Runner } from "../core/types.ts";
import type { ForgeCapabilities } from "../forge/port.ts";

/**
 * Why no runner may be registered for a runner's job: by the configuration as it is now, and by what the queue said last.
 * Undefined where its pool serves every job, and always has.
 */
export function distrustNow(runner: Runner, settings: Settings, view: ForgeView | undefined): Distrust | undefined {
  const trust = settings.pools.find(({ name }) => name === runner.pool)?.trust;
  if (trust === undefined && runner.repository === undefined) return undefined;
  if (trust === undefined || runner.repository === undefined) {
    return { code: "origin-unknown", detail: `pool ${runner.pool} was changed since the runner was made` };
  }
  const job = view?.jobs.find(({ key }) => key === runner.jobKey);
  if (job?.repository?.toLowerCase() !== runner.repository.toLowerCase()) {
    return { code: "origin-unknown", detail: "the job that it was made for is not in the queue any more" };
  }
  return distrust(trust, job);
}

/** Why a pool that trusts only some jobs cannot be served by this forge; undefined while that is not known. */
export function trustObstacle(pool: PoolSettings, can: ForgeCapabilities | undefined): string | undefined {
  if (pool.trust === undefined || can === undefined) return undefined;
  const forge = `${can.flavour === "gitea" ? "Gitea" : "Forgejo"} ${can.version}`;
  if (!can.tellsOrigins || !can.listsQueue)
    return `${forge} does not tell what started a job: Gitea 1.25 and Forgejo 15 do`;
  return can.ephemeral ? undefined : `${forge} registers no ephemeral runners`;
}
