import { runnerId, runnerName } from "../base/names.ts";
import { narrowed, type TrustPolicy } from "../base/trust.ts";
import type { PlanInput } from "./plan-types.ts";
import type { Job, Pool, Runner } from "./types.ts";

/** The record of a new runner; nothing of it exists yet. */
export function newRunner(pool: Pool, job: Job | undefined, input: PlanInput): Runner {
  const hex = input.freshHex();
  const revision = input.pools.find((view) => view.pool.name === pool.name)?.revision;
  return {
    hex,
    id: runnerId(pool.name, hex),
    name: runnerName(pool.prefix, hex),
    pool: pool.name,
    driver: pool.driver,
    target: pool.target,
    labels: [...pool.labels],
    memoryMib: pool.memoryMib,
    vcpus: pool.vcpus,
    diskMib: pool.diskMib,
    limits: { ...pool.limits },
    ...(revision === undefined ? {} : { revision }),
    ...(pool.mute === undefined ? {} : { mute: pool.mute }),
    ...(job === undefined ? {} : { jobKey: job.key }),
    ...(pool.trust === undefined || job === undefined ? {} : trustIn(pool.trust, job)),
    // Only our agent can make an engine ask for one job.
    ...(job?.handle === undefined || pool.mute === true ? {} : { handle: job.handle }),
    since: input.now,
    at: input.wall,
    registration: { phase: "none" },
    sandbox: { phase: "none" },
    agent: { phase: "silent" },
    credentials: "none",
    timeline:
      job === undefined ? {} : { ...(job.queuedAt === undefined ? {} : { queued: job.queuedAt }), observed: job.at },
  };
}

function trustIn(policy: TrustPolicy, { repository, origin }: Job): Pick<Runner, "repository" | "trust"> {
  if (repository === undefined) return {};
  return { repository, trust: narrowed(policy, { repository, ...(origin === undefined ? {} : { origin }) }) };
}
