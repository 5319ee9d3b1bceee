import type { Clock } from "../../../src/base/clock.ts";

export const BEGIN = 10_000_000;
export const WALL = 1_700_000_000_000;

/** Time that passes only when told to, and not before everything that the last moment set off has come to rest. */
export interface ModelClock extends Clock {
  /** Lets time pass; `look` is called after every moment at which something happened. */
  pass(milliseconds: number, look?: () => void): Promise<void>;
  settle(): Promise<void>;
  /** A clock whose timers end with it, as those of a process do. */
  fork(): Clock & { end(): void };
}

interface Alarm {
  at: number;
  order: number;
  action: (() => void) | undefined;
}

/** Turns of the event loop in which nobody asked for the time: then nothing goes on any more. */
const QUIET_TURNS = 4;
/** And those after which it never will. */
const MOST_TURNS = 5_000;

export function createModelClock(): ModelClock {
  const alarms: Alarm[] = [];
  let now = BEGIN;
  let order = 0;
  let activity = 0;

  const read = () => {
    activity++;
    return now;
  };
  const after = (milliseconds: number, action: () => void) => {
    activity++;
    const alarm: Alarm = { at: now + Math.max(Math.round(milliseconds), 0), order: order++, action };
    push(alarms, alarm);
    return {
      cancel: () => {
        alarm.action = undefined;
      },
    };
  };
  const sleep = (milliseconds: number, signal?: AbortSignal, wait = after) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const timer = wait(milliseconds, () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      const abort = () => {
        timer.cancel();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", abort, { once: true });
    });

  const settle = () =>
    new Promise<void>((resolve, reject) => {
      let quiet = 0;
      let seen = activity;
      let turns = 0;
      const turn = () => {
        if (++turns > MOST_TURNS) return reject(new Error("something goes round and round without taking any time"));
        quiet = activity === seen ? quiet + 1 : 0;
        seen = activity;
        if (quiet === QUIET_TURNS) resolve();
        else setImmediate(turn);
      };
      setImmediate(turn);
    });

  return {
    now: () => WALL + read() - BEGIN,
    uptime: read,
    after,
    sleep: (milliseconds, signal) => sleep(milliseconds, signal),
    settle,
    pass: async (milliseconds, look) => {
      const end = now + Math.round(milliseconds);
      await settle();
      look?.();
      for (;;) {
        const next = alarms[0];
        if (next === undefined || next.at > end) break;
        pop(alarms);
        if (next.action === undefined) continue;
        now = next.at;
        next.action();
        while (alarms[0]?.at === now) pop(alarms)?.action?.();
        await settle();
        look?.();
      }
      now = end;
    },
    fork: () => {
      let ended = false;
      const own: typeof after = (milliseconds, action) => {
        if (ended) return { cancel: () => undefined };
        return after(milliseconds, () => {
          if (!ended) action();
        });
      };
      return {
        now: () => WALL + read() - BEGIN,
        uptime: read,
        after: own,
        sleep: (milliseconds, signal) => sleep(milliseconds, signal, own),
        end: () => {
          ended = true;
        },
      };
    },
  };
}

const isBefore = (a: Alarm | undefined, b: Alarm | undefined): boolean =>
  a !== undefined && b !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order));

/** A heap, earliest first. */
function push(heap: Alarm[], alarm: Alarm): void {
  let at = heap.push(alarm) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (!isBefore(heap[at], heap[above])) return;
    swap(heap, at, above);
    at = above;
  }
}

function pop(heap: Alarm[]): Alarm | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (last === undefined || first === last) return first;
  heap[0] = last;
  for (let at = 0; ; ) {
    let least = at;
    for (const below of [2 * at + 1, 2 * at + 2]) if (isBefore(heap[below], heap[least])) least = below;
    if (least === at) return first;
    swap(heap, at, least);
    at = least;
  }
}

function swap(heap: Alarm[], a: number, b: number): void {
  const held = heap[a] as Alarm;
  heap[a] = heap[b] as Alarm;
  heap[b] = held;
}
