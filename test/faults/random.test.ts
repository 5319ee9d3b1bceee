import { beforeAll, describe, expect, it } from "vitest";
import { runCourse } from "../support/faults/course.ts";
import { buildFaultDaemon } from "../support/faults/program.ts";
import { courseOf } from "../support/faults/seeds.ts";

/** Other seeds by `npm run faults -- --count N`; the same ones by `--seed S`. */
const SEEDS = [1, 2, 3, 4, 5, 6];

let program = "";
beforeAll(async () => {
  program = await buildFaultDaemon();
});

describe.concurrent("the daemon dies some times, in courses of events that follow from a seed", () => {
  it.for(SEEDS.map((seed) => ({ seed, ...courseOf(seed) })))("seed $seed: $title", async ({ seed }) => {
    const outcome = await runCourse({ ...courseOf(seed), program });
    expect(outcome.findings, outcome.output).toEqual([]);
  });
});
