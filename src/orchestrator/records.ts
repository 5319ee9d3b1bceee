import type { Clock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { applyEvent, type RunnerEvent } from "../core/runner.ts";
import type { Runner } from "../core/types.ts";
import type { RunnerChange, Store } from "../store/port.ts";
import type { OrchestratorEvent } from "./port.ts";

/** The records of all runners that are not closed: memory first, the store behind it, listeners after both. */
export interface Records {
  get(id: string): Runner | undefined;
  all(): Runner[];
  byHex(hex: string): Runner | undefined;
  add(runner: Runner): void;
  /** Applies an event and saves the result; undefined when the runner is not known any more. */
  apply(id: string, event: RunnerEvent): Runner | undefined;
  /** Like `apply`, for what happened and cannot be told again: kept in memory when it cannot be stored. */
  applyAnyway(id: string, event: RunnerEvent): Runner | undefined;
  /** Like `apply`, for the agent's event number `seq`: repeated ones change nothing. */
  hear(id: string, seq: number, events: RunnerEvent[]): void;
  /** Applies events in memory and hands the result to `save`, which writes it together with something else. */
  applyWith(id: string, events: RunnerEvent[], save: Save): void;
  close(id: string): void;
  subscribe(listener: (event: OrchestratorEvent) => void): () => void;
  emit(event: OrchestratorEvent): void;
}

/** Writes a record, with what changed it. */
type Save = (runner: Runner, changes: RunnerChange[]) => void;

export function createRecords(deps: { store: Store; clock: Clock; log: Logger }): Records {
  const { store, clock, log } = deps;
  const runners = new Map<string, Runner>();
  const hexes = new Map<string, string>();
  const listeners = new Set<(event: OrchestratorEvent) => void>();
  const save: Save = (runner, changes) => store.saveRunner(runner, changes);
  const keep = (runner: Runner) => {
    runners.set(runner.id, runner);
    hexes.set(runner.hex, runner.id);
  };
  for (const runner of store.runners()) keep(runner);

  const emit = (event: OrchestratorEvent) => {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        log.error({ err: error, event: event.kind }, "a listener failed");
      }
    }
  };

  /** Nothing is kept in memory before `save` has returned. */
  const change = (before: Runner, events: RunnerEvent[], save: Save): Runner => {
    const time = { now: clock.uptime(), at: clock.now() };
    let runner = before;
    const changes: RunnerChange[] = [];
    for (const event of events) {
      const after = applyEvent(runner, event, time);
      if (after !== runner) changes.push({ at: time.at, change: event.kind });
      runner = after;
    }
    save(runner, changes);
    keep(runner);
    if (runner !== before) {
      for (const event of events) {
        log.debug({ runner: runner.id, change: event.kind }, "runner changed");
        emit({ kind: "runner", change: event.kind, runner, at: time.at });
      }
    }
    return runner;
  };

  const applyWith = (id: string, events: RunnerEvent[], save: Save): Runner | undefined => {
    const before = runners.get(id);
    return before === undefined ? undefined : change(before, events, save);
  };

  return {
    get: (id) => runners.get(id),
    all: () => [...runners.values()],
    byHex: (hex) => runners.get(hexes.get(hex) ?? ""),
    add: (runner) => {
      store.saveRunner(runner, [{ at: clock.now(), change: "created" }]);
      keep(runner);
      emit({ kind: "runner", change: "created", runner, at: clock.now() });
    },
    apply: (id, event) => applyWith(id, [event], save),
    hear: (id, seq, events) => {
      const before = runners.get(id);
      if (before === undefined || seq < (before.heard ?? 0)) return;
      const heard = { ...before, heard: seq + 1 };
      // What changes nothing is stored with the next event that does: a guest must not make us write at will.
      change(heard, events, events.length === 0 ? () => {} : save);
    },
    applyAnyway: (id, event) =>
      applyWith(id, [event], (runner, changes) => {
        try {
          store.saveRunner(runner, changes);
        } catch (error) {
          log.error({ runner: id, change: event.kind, cause: describe(error) }, "a change could not be stored yet");
        }
      }),
    applyWith: (id, events, save) => void applyWith(id, events, save),
    close: (id) => {
      const runner = runners.get(id);
      if (runner === undefined) return;
      const at = clock.now();
      const closed = { ...runner, timeline: { ...runner.timeline, destroyed: runner.timeline.destroyed ?? at } };
      store.closeRunner(closed, at);
      runners.delete(id);
      hexes.delete(runner.hex);
      emit({ kind: "closed", runner: closed, at });
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    emit,
  };
}
