import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { joinCalls, workThrough } from "../../../src/orchestrator/turns.ts";

describe("calls that come close together", () => {
  it("make one run, also when each comes in a turn of its own", async () => {
    let runs = 0;
    const call = joinCalls(systemClock, 60_000, () => runs++);
    for (let index = 0; index < 20; index++) {
      call();
      call();
      await turn();
      expect(runs).toBe(0);
    }
    await turns(3);
    expect(runs).toBe(1);
  });

  it("make a run for a single one within two turns, and another for the next", async () => {
    let runs = 0;
    const call = joinCalls(systemClock, 60_000, () => runs++);
    for (let round = 1; round <= 3; round++) {
      call();
      await turns(3);
      expect(runs).toBe(round);
    }
  });

  it("are not put off for ever", async () => {
    const after: number[] = [];
    const began = performance.now();
    const call = joinCalls(systemClock, 5, () => after.push(performance.now() - began));
    while (after.length === 0 && performance.now() - began < 5_000) {
      call();
      await turn();
    }
    expect(after).toHaveLength(1);
    expect(after[0]).toBeGreaterThanOrEqual(5);
  });

  it("are not put off by a turn that takes long", async () => {
    let runs = 0;
    let now = 0;
    const call = joinCalls({ uptime: () => now }, 2, () => runs++);
    for (; now < 20; now++) {
      call();
      await Promise.resolve();
    }
    expect(runs).toBeGreaterThan(1);
  });

  it("from within the run make another", async () => {
    let runs = 0;
    const call = joinCalls(systemClock, 60_000, () => {
      runs++;
      if (runs < 3) call();
    });
    call();
    await turns(12);
    expect(runs).toBe(3);
  });
});

describe("a list that is worked through", () => {
  it("takes so many a turn, in order, and what is added meanwhile after them", async () => {
    const done: number[] = [];
    const list = workThrough((item: number) => done.push(item), 2);
    list.add([1, 2, 3]);
    expect(list.isEmpty).toBe(false);
    list.go();
    list.go();
    expect(done).toEqual([1, 2]);
    list.add([4, 5]);
    await turns(4);
    expect(done).toEqual([1, 2, 3, 4, 5]);
    expect(list.isEmpty).toBe(true);
  });
});

async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}
