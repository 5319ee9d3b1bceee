import type { PoolView } from "../../core/plan-types.ts";
import { isBusy, isLive, jobOf, resultOf, statusOf } from "../../core/runner.ts";
import { PHASES, type Runner } from "../../core/types.ts";

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
  const taskId = jobOf(runner)?.taskId;
  return {
    id: runner.id,
    name: runner.name,
    status: statusOf(runner),
    ...(runner.sandbox.phase === "none" ? {} : { vm_id: runner.hex }),
    ...(runner.address === undefined ? {} : { ip_address: runner.address }),
    ...(runner.timeline.started === undefined ? {} : { started_at: iso(runner.timeline.started) }),
    ...(taskId === undefined ? {} : { job_id: String(taskId) }),
  };
}

/** What everyone may know of a runner; the original's list had `pool`, `id`, `name` and `status`. */
export function runnerShape(runner: Runner) {
  return {
    pool: runner.pool,
    ...poolRunnerShape(runner),
    driver: runner.driver,
    labels: runner.labels,
    created_at: iso(runner.at),
    phase: PHASES.findLast((phase) => runner.timeline[phase] !== undefined) ?? "observed",
    timeline: Object.fromEntries(Object.entries(runner.timeline).map(([phase, at]) => [phase, iso(at)])),
    ...(runner.ending === undefined ? {} : { ending: { reason: runner.ending.reason } }),
  };
}

/** Everything about one runner: names of repositories and causes of failures are not for everyone. */
export function runnerDetail(runner: Runner) {
  const { ending, outcome, sandbox, usage } = runner;
  const job = jobOf(runner);
  const result = resultOf(runner);
  return {
    ...runnerShape(runner),
    forge: runner.target,
    ...(job === undefined ? {} : { job: { name: job.name, repository: job.repository, run: job.runId } }),
    ...(result === undefined ? {} : { result }),
    ...(ending === undefined ? {} : { ending: { reason: ending.reason, detail: ending.detail } }),
    ...(outcome === undefined ? {} : { job_outcome: outcome }),
    ...(sandbox.phase === "exited" ? { exit: sandbox.exit } : {}),
    ...(usage === undefined ? {} : { usage: { memory_peak_bytes: usage.memoryPeakBytes, cpu_ms: usage.cpuMs } }),
  };
}

/** A runner that is gone. */
export function closedDetail({ runner, closedAt }: { runner: Runner; closedAt: number }) {
  return { ...runnerDetail(runner), closed_at: iso(closedAt) };
}

const iso = (at: number): string => new Date(at).toISOString();
