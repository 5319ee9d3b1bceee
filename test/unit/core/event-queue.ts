/** Events in the order of their times. */
export function createQueue(start: number) {
  const heap: { at: number; order: number; act: () => void }[] = [];
  let now = start;
  let order = 0;
  const before = (a: number, b: number): boolean => {
    const [one, other] = [heap[a], heap[b]];
    if (one === undefined || other === undefined) return false;
    return one.at < other.at || (one.at === other.at && one.order < other.order);
  };
  const swap = (a: number, b: number) => {
    const [one, other] = [heap[a], heap[b]];
    if (one !== undefined && other !== undefined) [heap[a], heap[b]] = [other, one];
  };
  const at = (when: number, act: () => void) => {
    heap.push({ at: Math.max(when, now), order: order++, act });
    for (let child = heap.length - 1; child > 0; ) {
      const parent = (child - 1) >> 1;
      if (!before(child, parent)) break;
      swap(child, parent);
      child = parent;
    }
  };
  return {
    now: () => now,
    at,
    after: (wait: number, act: () => void) => at(now + wait, act),
    /** The next thing happens; false when nothing is left to happen. */
    step: (): boolean => {
      const next = heap[0];
      const last = heap.pop();
      if (next === undefined || last === undefined) return false;
      if (heap.length > 0) heap[0] = last;
      for (let parent = 0; ; ) {
        const left = 2 * parent + 1;
        const child = before(left + 1, left) ? left + 1 : left;
        if (!before(child, parent)) break;
        swap(child, parent);
        parent = child;
      }
      now = next.at;
      next.act();
      return true;
    },
  };
}

/** Numbers between 0 and 1, the same for the same seed (mulberry32). */
export function drawFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
