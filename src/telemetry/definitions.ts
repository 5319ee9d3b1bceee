import { Counter, Gauge, Histogram, type Registry } from "@prometheus-io/client";

/** From 5 ms, where the original's client began, to half an hour, which images and queues can take. */
const LATENCY = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800];
/** The original's. */
const LIFETIME = [60, 300, 600, 1800, 3600, 7200, 14400];
const PLAN = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/** Every metric of our own, in a registry: the original's names, those of its README, and what they do not tell. */
export function defineMetrics(registry: Registry) {
  const registers = [registry];
  const gauge = <T extends string>(name: string, help: string, ...labelNames: T[]) =>
    new Gauge({ name: `fireteact_${name}`, help, labelNames, registers });
  const counter = <T extends string>(name: string, help: string, ...labelNames: T[]) =>
    new Counter({ name: `fireteact_${name}`, help, labelNames, registers });
  const histogram = <T extends string>(name: string, help: string, buckets: number[], ...labelNames: T[]) =>
    new Histogram({ name: `fireteact_${name}`, help, buckets, labelNames, registers });

  return {
    up: gauge("server_up", "1 while the orchestrator plans."),
    /** Two names of one figure: the original's program and its README. */
    pools: [gauge("pool_total", "Pools configured."), gauge("pools_total", "Pools configured.")],
    pool: {
      max: gauge("pool_max_runners_count", "Most runners the pool may have.", "pool"),
      min: gauge("pool_min_runners_count", "Runners the pool keeps without demand.", "pool"),
      current: gauge("pool_current_runners_count", "Runners that hold resources of this host.", "pool"),
      idle: gauge("pool_idle_runners_count", "Runners that wait for a job.", "pool"),
      busy: gauge("pool_busy_runners_count", "Runners that run a job.", "pool"),
      status: gauge("pool_status", "1 active, 0 paused.", "pool"),
      usable: gauge("pool_usable", "1 while the pool's driver and image can serve it.", "pool"),
      backingOff: gauge("pool_failures_in_a_row", "Runners that could not be made since one last could.", "pool"),
    },
    runners: gauge("runners_total", "Runners by pool and state.", "pool", "state"),
    waiting: gauge("jobs_waiting", "Queued jobs by the reason why they are not running yet.", "reason"),
    forgeUp: gauge("forge_up", "1 while the forge answers.", "target"),

    requests: counter("pool_scale_requests_total", "Runners that were asked for.", "pool"),
    successes: counter("pool_scale_successes_total", "Runners whose agent came up.", "pool"),
    failures: counter("pool_scale_failures_total", "Runners that ended before their agent came up.", "pool"),
    spawns: counter("runner_spawn_total", "Sandboxes started.", "pool"),
    spawnErrors: counter("runner_spawn_errors_total", "Sandboxes that could not be started.", "pool"),
    ended: counter("runners_ended_total", "Runners that are gone, by the reason of their end.", "pool", "reason"),
    jobs: counter("jobs_total", "Jobs that ended on our runners, by result.", "pool", "result"),
    forgeRequests: counter(
      "forge_requests_total",
      "Requests to forges, by HTTP status; 'error' where no answer came.",
      "target",
      "operation",
      "status",
    ),

    creation: histogram("pool_vm_creation_duration_seconds", "Making and starting a sandbox.", LATENCY, "pool"),
    creationOfAll: histogram("vm_creation_duration_seconds", "Making and starting a sandbox, in all pools.", LATENCY),
    lifetime: histogram("pool_vm_lifetime_duration_seconds", "From start to removal of a sandbox.", LIFETIME, "pool"),
    wait: histogram("job_wait_duration_seconds", "From a job's observation to its first step.", LATENCY, "pool"),
    phases: histogram(
      "job_phase_duration_seconds",
      "From the phase before to this one, of runners that are gone.",
      LATENCY,
      "pool",
      "phase",
    ),
    steps: histogram("step_duration_seconds", "Steps of the plan.", LATENCY, "step", "outcome"),
    parts: histogram("step_part_duration_seconds", "Named parts of steps.", LATENCY, "step", "part", "outcome"),
    plans: histogram("plan_duration_seconds", "One run of the plan.", PLAN),
  };
}

export type MetricSet = ReturnType<typeof defineMetrics>;
