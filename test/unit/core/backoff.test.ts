import { describe, expect, it } from "vitest";
import { recordFailure, recordRetry, recordSuccess } from "../../../src/core/plan.ts";
import { emptyMemory, type PlanMemory } from "../../../src/core/plan-types.ts";
import type { Step } from "../../../src/core/steps.ts";
import { MINUTE, NOW, SECOND } from "./build.ts";

/** Fails again and again, each time as soon as it may. */
const failing = (times: number): PlanMemory => {
  let memory = emptyMemory();
  for (let count = 0; count < times; count++) {
    memory = recordFailure(memory, "a", `failure ${count + 1}`, memory.pools["a"]?.until ?? NOW);
  }
  return memory;
};
const wait = ({ pools }: PlanMemory) => (pools["a"]?.until ?? 0) - (pools["a"]?.since ?? 0);

describe("a pool's back-off", () => {
  it.each([
    [1, 5 * SECOND],
    [2, 10 * SECOND],
    [3, 20 * SECOND],
    [6, 160 * SECOND],
    [7, 5 * MINUTE],
    [1_000, 5 * MINUTE],
  ])("after %i failures is %i ms", (failures, expected) => {
    expect(wait(failing(failures))).toBe(expected);
  });

  it("counts failures of one burst once, and keeps the first error", () => {
    const once = recordFailure(emptyMemory(), "a", "first", NOW);
    expect(recordFailure(once, "a", "second", NOW + SECOND)).toEqual(once);
  });

  it("ends with a success", () => {
    expect(recordSuccess(failing(5), "a")).toEqual(emptyMemory());
    expect(wait(recordFailure(recordSuccess(failing(5), "a"), "a", "again", NOW))).toBe(5 * SECOND);
  });

  it("is each pool's own", () => {
    expect(recordFailure(failing(3), "b", "its own", NOW).pools["b"]).toMatchObject({ failures: 1 });
    expect(recordSuccess(failing(3), "b").pools["a"]).toMatchObject({ failures: 3 });
  });

  it("leaves the memory it was given as it was", () => {
    const before = failing(1);
    const copy = structuredClone(before);
    recordFailure(before, "a", "again", NOW + MINUTE);
    recordSuccess(before, "a");
    expect(before).toEqual(copy);
  });
});

describe("a failed step's back-off", () => {
  const destroy: Step = { kind: "destroy", runner: "r" };
  const drain: Step = { kind: "drain", runner: "r", reason: "shutdown", detail: "" };

  it("is each step's own, and ends with a success", () => {
    const failed = recordRetry(emptyMemory(), destroy, "busy", NOW);
    expect(failed.retries).toEqual({
      "r:host:destroy": { failures: 1, since: NOW, until: NOW + 5 * SECOND, error: "busy" },
    });
    expect(recordRetry(failed, drain, undefined, NOW)).toBe(failed);
    expect(recordRetry(failed, destroy, undefined, NOW)).toEqual(emptyMemory());
  });
});
