import type { Clock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { applyEvent, type RunnerEvent } from "../core/runner.ts";
import type { Runner } from "../core/types.ts";
import type { RunnerChange, Store } from "../store/port.ts";
import type { OrchestratorEvent } from "./port.ts";

/** The records of all runners that are not closed: memory and the store, always the same; listeners hear after both. */
export interface Records {
  get(id: string): Runner | undefined;
  all(): Runner[];
  byHex(hex: string): Runner | undefined;
  /**
   * Everything that `work` changes and writes to the store is one transaction. When it throws, or cannot be stored, memory
   * is as it was before and nobody hears of it.
   */
  together<T>(work: () => T): T;
  /** The same, in one transaction with whatever else of this turn of the event loop; settles when it is stored or failed. */
  soon(work: () => void): Promise<void>;
  add(runner: Runner): void;
  /** Applies events and saves the result; undefined when the runner is not known any more. */
  apply(id: string, ...events: RunnerEvent[]): Runner | undefined;
  /** Like `apply`, for what happened and cannot be told again: kept in memory until it can be stored. Not for `together`. */
  applyAnyway(id: string, event: RunnerEvent): Runner | undefined;
  /** Like `apply`, for the agent's event number `seq`: repeated ones change nothing. */
  hear(id: string, seq: number, events: RunnerEvent[]): void;
  close(id: string): void;
  subscribe(listener: (event: OrchestratorEvent) => void): () => void;
  emit(event: OrchestratorEvent): void;
}

/** What one transaction has done so far. */
interface Group {
  /** Each changed runner as it was before. */
  before: Map<string, Runner | undefined>;
  events: OrchestratorEvent[];
}

export function createRecords(deps: { store: Store; clock: Clock; log: Logger }): Records {
  const { store, clock, log } = deps;
  const runners = new Map<string, Runner>();
  const hexes = new Map<string, string>();
  const listeners = new Set<(event: OrchestratorEvent) => void>();
  /** Runners whose record in memory is newer than the stored one, and what changed them since. */
  const unsaved = new Map<string, RunnerChange[]>();
  let group: Group | undefined;

  const set = (id: string, runner: Runner | undefined) => {
    const before = runners.get(id);
    if (group !== undefined && !group.before.has(id)) group.before.set(id, before);
    if (runner !== undefined) {
      runners.set(id, runner);
      hexes.set(runner.hex, id);
    } else if (before !== undefined) {
      runners.delete(id);
      hexes.delete(before.hex);
    }
  };
  for (const runner of store.runners()) set(runner.id, runner);

  const emit = (event: OrchestratorEvent) => {
    if (event.kind === "runner") log.debug({ runner: event.runner.id, change: event.change }, "runner changed");
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        log.error({ err: error, event: event.kind }, "a listener failed");
      }
    }
  };

  const note = (id: string, change: RunnerChange) => {
    const changes = unsaved.get(id);
    if (changes === undefined) unsaved.set(id, [change]);
    else changes.push(change);
  };

  const save = (id: string) => {
    const runner = runners.get(id);
    if (runner !== undefined) store.saveRunner(runner, unsaved.get(id));
    unsaved.delete(id);
  };

  const together = <T>(work: () => T): T => {
    if (group !== undefined) return work();
    const own: Group = { before: new Map(), events: [] };
    const unsavedBefore = [...unsaved].map(([id, changes]) => ({ id, changes: [...changes] }));
    let result: T;
    group = own;
    try {
      result = store.together(() => {
        const done = work();
        for (const id of unsaved.keys()) save(id);
        return done;
      });
    } catch (error) {
      for (const [id, runner] of own.before) set(id, runner);
      unsaved.clear();
      for (const { id, changes } of unsavedBefore) unsaved.set(id, changes);
      throw error;
    } finally {
      group = undefined;
    }
    for (const event of own.events) emit(event);
    return result;
  };

  const queued: { work: () => void; done: PromiseWithResolvers<void> }[] = [];
  const storeQueued = () => {
    const entries = queued.splice(0);
    try {
      together(() => {
        for (const { work } of entries) work();
      });
      for (const { done } of entries) done.resolve();
    } catch {
      // Each on its own, so that one that cannot be stored fails alone.
      for (const { work, done } of entries) {
        try {
          together(work);
          done.resolve();
        } catch (error) {
          done.reject(error);
        }
      }
    }
  };

  const tell = (event: OrchestratorEvent) => {
    if (group === undefined) emit(event);
    else group.events.push(event);
  };

  /** Applies events to a record that may be newer than the one in memory. */
  const change = (from: Runner, events: RunnerEvent[]): Runner => {
    const time = { now: clock.uptime(), at: clock.now() };
    let runner = from;
    for (const event of events) {
      const after = applyEvent(runner, event, time);
      if (after !== runner) note(runner.id, { at: time.at, change: event.kind });
      runner = after;
    }
    if (runner === runners.get(runner.id)) return runner;
    set(runner.id, runner);
    if (!unsaved.has(runner.id)) unsaved.set(runner.id, []);
    if (runner !== from) for (const event of events) tell({ kind: "runner", change: event.kind, runner, at: time.at });
    return runner;
  };

  const apply = (id: string, ...events: RunnerEvent[]): Runner | undefined => {
    const before = runners.get(id);
    return before === undefined ? undefined : together(() => change(before, events));
  };

  return {
    get: (id) => runners.get(id),
    all: () => [...runners.values()],
    byHex: (hex) => runners.get(hexes.get(hex) ?? ""),
    together,
    soon: (work) => {
      const done = Promise.withResolvers<void>();
      if (queued.push({ work, done }) === 1) setImmediate(storeQueued);
      return done.promise;
    },
    add: (runner) =>
      together(() => {
        set(runner.id, runner);
        note(runner.id, { at: clock.now(), change: "created" });
        tell({ kind: "runner", change: "created", runner, at: clock.now() });
      }),
    apply,
    hear: (id, seq, events) => {
      const before = runners.get(id);
      if (before === undefined || seq < (before.heard ?? 0)) return;
      const heard = { ...before, heard: seq + 1 };
      // What changes nothing is stored with the next event that does: a guest must not make us write at will.
      if (events.length === 0) set(id, heard);
      else together(() => change(heard, events));
    },
    applyAnyway: (id, event) => {
      try {
        return apply(id, event);
      } catch (error) {
        log.error({ runner: id, change: event.kind, cause: describe(error) }, "a change could not be stored yet");
      }
      const before = runners.get(id);
      return before === undefined ? undefined : change(before, [event]);
    },
    close: (id) => {
      const runner = runners.get(id);
      if (runner === undefined) return;
      together(() => {
        const at = clock.now();
        if (unsaved.has(id)) save(id);
        const closed = { ...runner, timeline: { ...runner.timeline, destroyed: runner.timeline.destroyed ?? at } };
        store.closeRunner(closed, at);
        set(id, undefined);
        tell({ kind: "closed", runner: closed, at });
      });
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    emit,
  };
}
