import type { Clock } from "../base/clock.ts";

/**
 * Joins calls that come close together: `work` runs once a whole turn of the event loop has brought no further call, and
 * at the latest `most` milliseconds after the first one. What waits in the sockets is taken in meanwhile, so that a burst
 * costs one run and not one each; a single call waits for a turn, well under a millisecond. Never runs within a call.
 */
export function joinCalls(clock: Pick<Clock, "uptime">, most: number, work: () => void): () => void {
  let first: number | undefined;
  let next: NodeJS.Immediate | undefined;
  let isQuiet = false;
  const run = () => {
    if (first === undefined) return;
    first = undefined;
    clearImmediate(next);
    work();
  };
  const isDue = () => first !== undefined && clock.uptime() - first >= most;
  const look = () => {
    if (isQuiet || isDue()) return run();
    isQuiet = true;
    next = setImmediate(look);
  };
  return () => {
    isQuiet = false;
    if (first === undefined) {
      first = clock.uptime();
      next = setImmediate(look);
    } else if (isDue()) {
      // One turn may bring everything that has arrived in a long time.
      queueMicrotask(run);
    }
  };
}

/**
 * Works through a growing list in its order, a few entries a turn of the event loop, so that whatever else comes in is
 * served in between.
 */
export function workThrough<T>(work: (item: T) => void, each: number) {
  const waiting: T[] = [];
  let scheduled = false;
  const go = () => {
    for (const item of waiting.splice(0, each)) work(item);
    scheduled = waiting.length > 0;
    if (scheduled) setImmediate(go);
  };
  return {
    add: (items: T[]) => void waiting.push(...items),
    get isEmpty() {
      return waiting.length === 0;
    },
    /** Goes on with what waits. */
    go: () => {
      if (!scheduled) go();
    },
  };
}
