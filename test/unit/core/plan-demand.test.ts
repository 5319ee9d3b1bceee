import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import type { PlanInput } from "../../../src/core/plan-types.ts";
import type { Job } from "../../../src/core/types.ts";
import {
  booting,
  busy,
  creations,
  ending,
  forge,
  input,
  job,
  NOW,
  poolView,
  ready,
  reasons,
  running,
  T,
  warm,
} from "./build.ts";

interface Row {
  what: string;
  given: Partial<PlanInput> & { jobs?: Job[] };
  creates: Record<string, number>;
  waits?: Record<number, string>;
}

const many = <X>(count: number, make: (id: number) => X, from = 1): X[] =>
  Array.from({ length: count }, (_, index) => make(from + index));

const ROWS: Row[] = [
  { what: "nothing waits: nothing is made", given: {}, creates: {} },
  {
    what: "one job, nothing there: one runner",
    given: { jobs: [job(1)] },
    creates: { a: 1 },
    waits: { 1: "runner-starting" },
  },
  {
    what: "5 busy and 3 queued: three more",
    given: { runners: many(5, (id) => busy(id)), jobs: many(3, (id) => job(id)) },
    creates: { a: 3 },
  },
  {
    what: "5 busy and 3 queued, minimum 1: still three more",
    given: {
      pools: [poolView({ minRunners: 1 })],
      runners: many(5, (id) => busy(id)),
      jobs: many(3, (id) => job(id)),
    },
    creates: { a: 3 },
  },
];

describe("demand", () => {
  it.each(ROWS)("$what", ({ given, creates, waits }) => {
    const output = plan(input(given));
    expect(creations(output)).toEqual(creates);
    if (waits !== undefined) expect(reasons(output)).toEqual(waits);
  });
});
