import { type PoolView, WAIT_CODES } from "../core/plan-types.ts";
import { isBusy, isLive, statusOf } from "../core/runner.ts";
import type { Runner } from "../core/types.ts";
import type { Orchestrator } from "../orchestrator/port.ts";
import type { MetricSet } from "./definitions.ts";

const STATUSES = ["starting", "idle", "busy", "stopping", "stopped", "failed"] as const;

/** Sets all gauges to what the orchestrator's snapshot says now; pools and forges that are gone vanish. */
export function readGauges(metrics: MetricSet, orchestrator: Orchestrator): void {
  const pools = orchestrator.pools();
  metrics.up.set(orchestrator.started() ? 1 : 0);
  for (const total of metrics.pools) total.set(pools.length);

  const { runners, waiting, forgeUp, pool } = metrics;
  for (const gauge of [...Object.values(pool), runners, waiting, forgeUp]) gauge.reset();
  for (const view of pools) readPool(metrics, view, orchestrator);
  for (const code of WAIT_CODES) waiting.set({ reason: code }, 0);
  for (const { code } of orchestrator.reasons()) waiting.inc({ reason: code });
  for (const { key, health } of orchestrator.targets()) forgeUp.set({ target: key }, health === "ok" ? 1 : 0);
}

function readPool(metrics: MetricSet, { pool, paused, usable }: PoolView, orchestrator: Orchestrator): void {
  const labels = { pool: pool.name };
  const own = orchestrator.runners().filter((runner) => runner.pool === pool.name);
  const count = (matches: (runner: Runner) => boolean) => own.filter(matches).length;
  metrics.pool.max.set(labels, pool.maxRunners);
  metrics.pool.min.set(labels, pool.minRunners);
  metrics.pool.current.set(labels, count(isLive));
  metrics.pool.idle.set(
    labels,
    count((runner) => statusOf(runner) === "idle"),
  );
  metrics.pool.busy.set(labels, count(isBusy));
  metrics.pool.status.set(labels, paused ? 0 : 1);
  metrics.pool.usable.set(labels, usable ? 1 : 0);
  metrics.pool.backingOff.set(labels, orchestrator.memory().pools[pool.name]?.failures ?? 0);
  for (const state of STATUSES) {
    metrics.runners.set(
      { ...labels, state },
      count((runner) => statusOf(runner) === state),
    );
  }
  // A counter that begins at 0 shows its first step as a rate.
  const { requests, successes, failures, spawns, spawnErrors } = metrics;
  for (const counter of [requests, successes, failures, spawns, spawnErrors]) counter.inc(labels, 0);
}
