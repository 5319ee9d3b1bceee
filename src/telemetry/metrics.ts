import { collectDefaultMetrics, Registry } from "@prometheus-io/client";
import { jobOf, resultOf } from "../core/runner.ts";
import { PHASES, type Runner } from "../core/types.ts";
import type { Orchestrator, OrchestratorEvent } from "../orchestrator/port.ts";
import { defineMetrics, type MetricSet } from "./definitions.ts";
import { readGauges } from "./gauges.ts";

/** A request to a forge, as the forge clients report it. */
export interface ForgeRequest {
  target: string;
  operation: string;
  /** HTTP status, or `error` when there was no answer. */
  status: string;
}

/**
 * How often the runtime's own metrics look at the event loop, milliseconds. As often as their library would, they take most
 * of the processor time of a daemon that waits: a hundred timers a second.
 */
const SELDOM = { eventLoopMonitoringPrecision: 500, eventLoopUtilizationTimeout: 5_000 };

export interface Metrics {
  scrape(): Promise<{ contentType: string; body: string }>;
  forgeRequest(request: ForgeRequest): void;
}

/**
 * All metrics: the original's names and its README's with correct values, and our own; docs/metrics.md lists them. Gauges
 * are read from the orchestrator's snapshot when somebody scrapes; counters and histograms follow its events.
 */
export function createMetrics(orchestrator: Orchestrator): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, ...SELDOM });
  const metrics = defineMetrics(registry);
  orchestrator.subscribe((event) => onEvent(metrics, event));
  return {
    scrape: async () => {
      readGauges(metrics, orchestrator);
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
    forgeRequest: (request) => metrics.forgeRequests.inc({ ...request }),
  };
}

function onEvent(metrics: MetricSet, event: OrchestratorEvent): void {
  switch (event.kind) {
    case "runner":
      onRunner(metrics, event);
      break;
    case "closed":
      onClosed(metrics, event.runner);
      break;
    case "plan":
      metrics.plans.observe(event.milliseconds / 1000);
      break;
    case "part":
      metrics.parts.observe(
        { step: event.step, part: event.part, outcome: outcomeOf(event) },
        event.milliseconds / 1000,
      );
      break;
    case "step":
      metrics.steps.observe({ step: event.step, outcome: outcomeOf(event) }, event.milliseconds / 1000);
      if (event.step === "boot" && event.pool !== undefined) onBoot(metrics, event.pool, event);
      break;
    case "forge":
      break;
  }
}

/** Each runner counts once as asked for, and at most once as made or not made. */
function onRunner(metrics: MetricSet, { change, runner }: Extract<OrchestratorEvent, { kind: "runner" }>): void {
  const { pool, agent, ending } = runner;
  if (change === "created") metrics.requests.inc({ pool });
  if (change === "agent-up") metrics.successes.inc({ pool });
  const unmade = change === "ending" && agent.phase === "silent" && UNMADE.has(ending?.reason ?? "finished");
  if (unmade) metrics.failures.inc({ pool });
}

const UNMADE = new Set<NonNullable<Runner["ending"]>["reason"]>([
  "register-failed",
  "boot-failed",
  "boot-timeout",
  "sandbox-exited",
]);

function onBoot(metrics: MetricSet, pool: string, { ok, milliseconds }: { ok: boolean; milliseconds: number }): void {
  if (!ok) {
    metrics.spawnErrors.inc({ pool });
    return;
  }
  metrics.spawns.inc({ pool });
  metrics.creation.observe({ pool }, milliseconds / 1000);
  metrics.creationOfAll.observe(milliseconds / 1000);
}

function onClosed(metrics: MetricSet, runner: Runner): void {
  const { pool, timeline, ending } = runner;
  metrics.ended.inc({ pool, reason: ending?.reason ?? "finished" });
  if (jobOf(runner) !== undefined) metrics.jobs.inc({ pool, result: resultOf(runner) ?? "unknown" });
  const between = (from: number | undefined, to: number | undefined, observe: (seconds: number) => void) => {
    if (from !== undefined && to !== undefined) observe(Math.max(to - from, 0) / 1000);
  };
  between(timeline.started, timeline.destroyed, (seconds) => metrics.lifetime.observe({ pool }, seconds));
  between(timeline.observed, timeline.first_step, (seconds) => metrics.wait.observe({ pool }, seconds));
  const reached = PHASES.filter((phase) => timeline[phase] !== undefined);
  for (const [index, phase] of reached.entries()) {
    const before = reached[index - 1];
    if (before === undefined) continue;
    between(timeline[before], timeline[phase], (seconds) => metrics.phases.observe({ pool, phase }, seconds));
  }
}

const outcomeOf = ({ ok }: { ok: boolean }): string => (ok ? "success" : "failure");
