import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nearest } from "../../../src/base/suggest.ts";
import { formatDuration, parseDuration } from "../../../src/config/duration.ts";

describe("durations", () => {
  it.each([
    ["90s", 90_000],
    ["15m", 900_000],
    ["3h10m", 11_400_000],
    ["1.5h", 5_400_000],
    ["300ms", 300],
    ["1h0m0.5s", 3_600_500],
    ["1500us", 1.5],
  ])("reads %s", (text, milliseconds) => {
    expect(parseDuration(text)).toBeCloseTo(milliseconds, 9);
  });
  it.each(["", "90", "1h30", "-5s", "1d", "h", "5 s", ".5s", "1..5s", "9".repeat(70)])("refuses %j", (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
  it("writes what it can read", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 10 }), (milliseconds) => {
        expect(parseDuration(formatDuration(milliseconds))).toBeCloseTo(milliseconds, 3);
      }),
    );
  });
});

describe("the nearest word", () => {
  const known = ["minRunners", "maxRunners", "minIdle", "name", "driver"];
  it.each([
    ["minRunnres", "minRunners"],
    ["maxrunners", "maxRunners"],
    ["max_runners", "maxRunners"],
    ["nmae", "name"],
    ["drivr", "driver"],
  ])("is found for %s", (word, meant) => {
    expect(nearest(word, known)).toBe(meant);
  });
  it.each(["colour", "x", "", "n".repeat(1_000_000)])("is not made up (%#)", (word) => {
    expect(nearest(word, known)).toBeUndefined();
  });
});
