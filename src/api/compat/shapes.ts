import type { PoolView } from "../../core/plan-types.ts";
import { isBusy, isLive, statusOf } from "../../core/runner.ts";
import type { Runner } from "../../core/types.ts";

/** The original's answers, field for field; what we add stands behind its fields. */

export function poolShape({ pool, paused, usable, detail }: PoolView, runners: Runner[]) {
  const own = runners.filter((runner) => runner.pool === pool.name && isLive(runner));
  return {
    name: pool.name,
    minRunners: pool.minRunners,
    maxRunners: pool.maxRunners,
    currentRunners: own.length,
    idleRunners: own.filter((runner) => statusOf(runner) === "idle").length,
    busyRunners: own.filter(isBusy).length,
    driver: pool.driver,
    labels: pool.labels,
    paused,
    usable,
    ...(detail === undefined ? {} : { detail }),
  };
}

/** A runner inside a pool's answer. */
export function poolRunnerShape(runner: Runner) {
  return {
    id: runner.id,
    name: runner.name,
    status: statusOf(runner),
    ...(runner.sandbox.phase === "none" ? {} : { vm_id: runner.hex }),
    ...(runner.address === undefined ? {} : { ip_address: runner.address }),
    ...(runner.timeline.started === undefined ? {} : { started_at: new Date(runner.timeline.started).toISOString() }),
    ...jobId(runner),
  };
}

/** A runner in the list of all. */
export function runnerShape(runner: Runner) {
  return { pool: runner.pool, id: runner.id, name: runner.name, status: statusOf(runner) };
}

/** Everything about one runner. */
export function runnerDetail(runner: Runner) {
  return {
    pool: runner.pool,
    ...poolRunnerShape(runner),
    driver: runner.driver,
    labels: runner.labels,
    phase: phaseOf(runner),
    timeline: Object.fromEntries(
      Object.entries(runner.timeline).map(([phase, at]) => [phase, new Date(at).toISOString()]),
    ),
    ...(runner.agent.phase === "finished" && runner.agent.result !== undefined ? { result: runner.agent.result } : {}),
    ...(runner.ending === undefined ? {} : { ending: { reason: runner.ending.reason, detail: runner.ending.detail } }),
    ...(runner.sandbox.phase === "exited" ? { exit: runner.sandbox.exit } : {}),
  };
}

function phaseOf(runner: Runner): string {
  const reached = Object.entries(runner.timeline).sort(([, a], [, b]) => a - b);
  return reached.at(-1)?.[0] ?? "observed";
}

function jobId(runner: Runner): { job_id?: string } {
  const job = runner.agent.phase === "busy" || runner.agent.phase === "finished" ? runner.agent.job : undefined;
  return job?.taskId === undefined ? {} : { job_id: String(job.taskId) };
}
