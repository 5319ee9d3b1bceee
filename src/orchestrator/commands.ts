import type { PlanMemory, PlanOutput, PoolView } from "../core/plan-types.ts";
import { isBusy } from "../core/runner.ts";
import type { Store } from "../store/port.ts";
import type { ForgeWatcher } from "./observe.ts";
import type { Orchestrator } from "./port.ts";
import { type LogSources, readLogs } from "./read-logs.ts";

interface CommandDeps extends LogSources {
  store: Store;
  desired: () => { pools: PoolView[]; watchers: ReadonlyMap<string, ForgeWatcher> };
  /** Names of paused pools, changed in place. */
  paused: Set<string>;
  /** What the last plan came to. */
  output: () => Pick<PlanOutput, "reasons">;
  memory: () => PlanMemory;
  planned: () => boolean;
  wake: () => void;
}

/** Snapshots and commands, for the API: everything that is asked of the loop from outside. */
export function commandsOf(deps: CommandDeps): Orchestrator {
  const { records, store, paused, output, memory, planned, wake } = deps;
  return {
    pools: () => deps.desired().pools.map((view) => ({ ...view, paused: paused.has(view.pool.name) })),
    runners: () => records.all(),
    reasons: () => output().reasons,
    memory,
    targets: () => [...deps.desired().watchers.values()].map((watcher) => watcher.health()),
    history: (limit) => store.history(limit),
    closed: (hex) => store.closed(hex),
    story: (hex) => store.story(hex),
    started: planned,
    pause: (pool) => {
      paused.add(pool);
      store.setPaused(pool, true);
      wake();
    },
    resume: (pool) => {
      paused.delete(pool);
      store.setPaused(pool, false);
      wake();
    },
    stopRunner: (id, force) => {
      const runner = records.get(id);
      if (runner === undefined) return "unknown";
      if (isBusy(runner) && !force) return "busy";
      // Without force a job that arrives at this moment wins.
      const kind = force ? "ending" : "removal-asked";
      records.apply(id, { kind, reason: "forced", detail: "an operator ended it" });
      wake();
      return "ending";
    },
    logs: (id, bytes) => readLogs(deps, id, bytes),
    subscribe: (listener) => records.subscribe(listener),
  };
}
