import { expect, it } from "vitest";
import { type Clock, inStep, systemClock } from "../../../src/base/clock.ts";

const at = (uptime: number): Clock => ({ ...systemClock, uptime: () => uptime });

it("waits of many end together, none earlier than asked for nor more than an eighth later", () => {
  const ends = new Set<number>();
  for (let begin = 0; begin < 1_000; begin += 7) {
    const wait = inStep(at(begin), 2_000);
    expect(wait).toBeGreaterThanOrEqual(2_000);
    expect(wait).toBeLessThanOrEqual(2_250);
    ends.add(begin + wait);
  }
  expect([...ends]).toEqual([2_000, 2_250, 2_500, 2_750, 3_000]);
  expect(inStep(at(3), 8)).toBe(8);
});
