import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyEvent, type RunnerEvent } from "../../../src/core/runner.ts";
import type { Runner } from "../../../src/core/types.ts";
import { fresh, job, NOW, WALL } from "./build.ts";

const exit = { code: 0, signal: null, at: WALL };
const event: fc.Arbitrary<RunnerEvent> = fc.oneof(
  ...(
    [
      "register-asked",
      "row-gone",
      "boot-asked",
      "booted",
      "agent-up",
      "engine-starting",
      "credentials-given",
      "credentials-withdrawn",
      "listening",
      "drained",
      "first-step",
      "kept",
    ] as const
  ).map((kind) => fc.constant<RunnerEvent>({ kind })),
  fc.nat(3).map((row): RunnerEvent => ({ kind: "registered", row, uuid: `u${row}` })),
  fc.nat(3).map((taskId): RunnerEvent => ({ kind: "assigned", job: { taskId } })),
  fc.constantFrom<RunnerEvent>({ kind: "job-finished" }, { kind: "job-finished", result: "failure" }),
  fc.nat(2).map((code): RunnerEvent => ({ kind: "engine-exited", code })),
  fc.constant<RunnerEvent>({ kind: "draining", reason: "scale-down", detail: "" }),
  fc.constant<RunnerEvent>({ kind: "sandbox-exited", exit }),
  fc.constant<RunnerEvent>({ kind: "sandbox-gone" }),
  fc.nat(3).map((id): RunnerEvent => ({ kind: "matched", job: job(id) })),
  fc.constantFrom<RunnerEvent>(
    { kind: "ending", reason: "lifetime", detail: "" },
    { kind: "ending", reason: "forced", detail: "" },
  ),
);

const run = (events: RunnerEvent[]): Runner[] => {
  const states = [fresh(1)];
  for (const [index, each] of events.entries()) {
    const before = states.at(-1) ?? fresh(1);
    states.push(applyEvent(before, each, { now: NOW + index, at: WALL + index }));
  }
  return states;
};

const RANKS = {
  registration: ["none", "pending", "active", "gone"],
  sandbox: ["none", "starting", "running", "exited", "gone"],
  agent: ["silent", "up", "starting", "listening", "draining", "drained", "busy", "finished"],
} as const;
const rank = (runner: Runner): number[] => [
  RANKS.registration.indexOf(runner.registration.phase),
  RANKS.sandbox.indexOf(runner.sandbox.phase),
  RANKS.agent.indexOf(runner.agent.phase),
  ["none", "given", "withdrawn"].indexOf(runner.credentials),
  runner.ending === undefined ? 0 : 1,
  Object.keys(runner.timeline).length,
];

describe("a runner's record", () => {
  it("never goes back, whatever comes in whatever order", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const ranks = run(events).map(rank);
        for (const [index, now] of ranks.entries()) {
          const before = ranks[index - 1] ?? now;
          for (const [part, value] of now.entries()) expect(value).toBeGreaterThanOrEqual(before[part] ?? 0);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is not changed by a channel that repeats what it said", () => {
    const story: RunnerEvent[] = [
      { kind: "agent-up" },
      { kind: "engine-starting" },
      { kind: "listening" },
      { kind: "drained" },
      { kind: "assigned", job: { taskId: 1 } },
      { kind: "first-step" },
      { kind: "job-finished", result: "success" },
      { kind: "engine-exited", code: 0 },
    ];
    const cut = fc.nat(story.length);
    fc.assert(
      fc.property(cut, cut, (end, from) => {
        const heard = story.slice(0, end);
        const before = run(heard).at(-1);
        expect(run([...heard, ...heard.slice(from)]).at(-1)).toEqual(before);
      }),
    );
  });

  it("keeps times, reasons and identities that were set once", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const states = run(events);
        for (const [index, now] of states.entries()) {
          const before = states[index - 1] ?? now;
          const { queued: _, observed: __, ...reached } = before.timeline;
          expect(now.timeline).toMatchObject(reached);
          if (before.ending !== undefined) expect(now.ending).toEqual(before.ending);
          if (before.registration.phase === "active" && now.registration.phase === "active") {
            expect(now.registration).toEqual(before.registration);
          }
          if (before.registration.phase !== "none") expect(now.jobKey).toBe(before.jobKey);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("returns the same object for an event that brings nothing new", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), event, (events, last) => {
        const before = run([...events, last]).at(-1) ?? fresh(1);
        const again = applyEvent(before, last, { now: NOW + 1_000, at: WALL + 1_000 });
        if (last.kind !== "draining") expect(again).toBe(before);
      }),
      { numRuns: 500 },
    );
  });
});
