import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "@prometheus-io/client";
import { isBusy, isLive, statusOf } from "../core/runner.ts";
import { PHASES, type Runner } from "../core/types.ts";
import type { Orchestrator, OrchestratorEvent } from "../orchestrator/port.ts";

/** A request to a forge, as the forge clients report it. */
export interface ForgeRequest {
  target: string;
  operation: string;
  /** HTTP status, or `error` when there was no answer. */
  status: string;
}

export interface Metrics {
  scrape(): Promise<{ contentType: string; body: string }>;
  forgeRequest(request: ForgeRequest): void;
}

const STATUSES = ["starting", "idle", "busy", "stopping", "stopped", "failed"] as const;
const FORGET_AFTER_BUCKETS = [60, 300, 600, 1800, 3600, 7200, 14400];
const LATENCY_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];

/**
 * All metrics: the original's names and its README's with correct values, and our own. Gauges are read from the
 * orchestrator's snapshot when somebody scrapes; counters and histograms follow its events.
 */
export function createMetrics(orchestrator: Orchestrator): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const gauge = <T extends string>(name: string, help: string, labelNames: T[]) =>
    new Gauge({ name, help, labelNames, registers });
  const counter = <T extends string>(name: string, help: string, labelNames: T[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <T extends string>(name: string, help: string, labelNames: T[], buckets: number[]) =>
    new Histogram({ name, help, labelNames, buckets, registers });

  const up = gauge("fireteact_server_up", "1 while the orchestrator plans.", []);
  const poolTotal = gauge("fireteact_pool_total", "Pools configured.", []);
  const poolsTotal = gauge("fireteact_pools_total", "Pools configured.", []);
  const perPool = {
    max: gauge("fireteact_pool_max_runners_count", "Most runners the pool may have.", ["pool"]),
    min: gauge("fireteact_pool_min_runners_count", "Runners the pool keeps without demand.", ["pool"]),
    current: gauge("fireteact_pool_current_runners_count", "Runners that hold resources of this host.", ["pool"]),
    idle: gauge("fireteact_pool_idle_runners_count", "Runners that wait for a job.", ["pool"]),
    busy: gauge("fireteact_pool_busy_runners_count", "Runners that run a job.", ["pool"]),
    status: gauge("fireteact_pool_status", "1 active, 0 paused.", ["pool"]),
    usable: gauge("fireteact_pool_usable", "1 while the pool's driver and image can serve it.", ["pool"]),
  };
  const runnersTotal = gauge("fireteact_runners_total", "Runners by pool and state.", ["pool", "state"]);
  const waiting = gauge("fireteact_jobs_waiting", "Queued jobs by the reason why they are not running yet.", [
    "reason",
  ]);
  const forgeUp = gauge("fireteact_forge_up", "1 while the forge answers.", ["target"]);

  const requests = counter("fireteact_pool_scale_requests_total", "Runners that were asked for.", ["pool"]);
  const successes = counter("fireteact_pool_scale_successes_total", "Runners that came up.", ["pool"]);
  const failures = counter("fireteact_pool_scale_failures_total", "Runners that could not be made.", ["pool"]);
  const spawns = counter("fireteact_runner_spawn_total", "Sandboxes started.", ["pool"]);
  const spawnErrors = counter("fireteact_runner_spawn_errors_total", "Sandboxes that could not be started.", ["pool"]);
  const ended = counter("fireteact_runners_ended_total", "Runners that ended, by reason.", ["pool", "reason"]);
  const jobs = counter("fireteact_jobs_total", "Jobs that ended on our runners, by result.", ["pool", "result"]);
  const forgeRequests = counter("fireteact_forge_requests_total", "Requests to forges.", [
    "target",
    "operation",
    "status",
  ]);

  const creation = histogram(
    "fireteact_pool_vm_creation_duration_seconds",
    "Making and starting a sandbox.",
    ["pool"],
    LATENCY_BUCKETS,
  );
  const creationAll = histogram(
    "fireteact_vm_creation_duration_seconds",
    "Making and starting a sandbox.",
    [],
    LATENCY_BUCKETS,
  );
  const lifetime = histogram(
    "fireteact_pool_vm_lifetime_duration_seconds",
    "From start to removal of a sandbox.",
    ["pool"],
    FORGET_AFTER_BUCKETS,
  );
  const phases = histogram(
    "fireteact_job_phase_duration_seconds",
    "Time from the phase before to this one.",
    ["pool", "phase"],
    LATENCY_BUCKETS,
  );
  const wait = histogram(
    "fireteact_job_wait_duration_seconds",
    "From a job's observation to its first step.",
    ["pool"],
    LATENCY_BUCKETS,
  );
  const steps = histogram(
    "fireteact_step_duration_seconds",
    "Steps of the plan.",
    ["step", "outcome"],
    LATENCY_BUCKETS,
  );
  const parts = histogram(
    "fireteact_step_part_duration_seconds",
    "Named parts of steps.",
    ["step", "part", "outcome"],
    LATENCY_BUCKETS,
  );
  const plans = histogram(
    "fireteact_plan_duration_seconds",
    "One run of the plan.",
    [],
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1],
  );

  const onClosed = (runner: Runner) => {
    const { pool } = runner;
    ended.inc({ pool, reason: runner.ending?.reason ?? "finished" });
    if (runner.agent.phase === "finished") jobs.inc({ pool, result: runner.agent.result ?? "unknown" });
    const { timeline } = runner;
    if (timeline.started !== undefined && timeline.destroyed !== undefined) {
      lifetime.observe({ pool }, (timeline.destroyed - timeline.started) / 1000);
    }
    if (timeline.observed !== undefined && timeline.first_step !== undefined) {
      wait.observe({ pool }, Math.max(timeline.first_step - timeline.observed, 0) / 1000);
    }
    let before: number | undefined;
    for (const phase of PHASES) {
      const at = timeline[phase];
      if (at !== undefined && before !== undefined) phases.observe({ pool, phase }, Math.max(at - before, 0) / 1000);
      before = at ?? before;
    }
  };

  const onEvent = (event: OrchestratorEvent) => {
    if (event.kind === "runner" && event.change === "created") requests.inc({ pool: event.runner.pool });
    if (event.kind === "runner" && event.change === "agent-up") successes.inc({ pool: event.runner.pool });
    if (event.kind === "closed") onClosed(event.runner);
    if (event.kind === "plan") plans.observe(event.milliseconds / 1000);
    if (event.kind === "part")
      parts.observe({ step: event.step, part: event.part, outcome: outcome(event.ok) }, event.milliseconds / 1000);
    if (event.kind !== "step") return;
    steps.observe({ step: event.step, outcome: outcome(event.ok) }, event.milliseconds / 1000);
    const { pool } = event;
    if (pool === undefined) return;
    if (!event.ok && (event.step === "boot" || event.step === "register")) failures.inc({ pool });
    if (event.step !== "boot") return;
    if (!event.ok) {
      spawnErrors.inc({ pool });
      return;
    }
    spawns.inc({ pool });
    creation.observe({ pool }, event.milliseconds / 1000);
    creationAll.observe(event.milliseconds / 1000);
  };
  orchestrator.subscribe(onEvent);

  const readGauges = () => {
    const pools = orchestrator.pools();
    const runners = orchestrator.runners();
    up.set(orchestrator.started() ? 1 : 0);
    poolTotal.set(pools.length);
    poolsTotal.set(pools.length);
    for (const all of [...Object.values(perPool), runnersTotal, waiting, forgeUp]) all.reset();
    for (const { pool, paused, usable } of pools) {
      const own = runners.filter((runner) => runner.pool === pool.name);
      const labels = { pool: pool.name };
      perPool.max.set(labels, pool.maxRunners);
      perPool.min.set(labels, pool.minRunners);
      perPool.current.set(labels, own.filter(isLive).length);
      perPool.idle.set(labels, own.filter((runner) => statusOf(runner) === "idle").length);
      perPool.busy.set(labels, own.filter(isBusy).length);
      perPool.status.set(labels, paused ? 0 : 1);
      perPool.usable.set(labels, usable ? 1 : 0);
      for (const state of STATUSES) {
        runnersTotal.set({ pool: pool.name, state }, own.filter((runner) => statusOf(runner) === state).length);
      }
    }
    for (const { code } of orchestrator.reasons()) waiting.inc({ reason: code });
    for (const { key, health } of orchestrator.targets()) forgeUp.set({ target: key }, health === "ok" ? 1 : 0);
  };

  return {
    scrape: async () => {
      readGauges();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
    forgeRequest: (request) => forgeRequests.inc({ ...request }),
  };
}

const outcome = (ok: boolean): string => (ok ? "success" : "failure");
