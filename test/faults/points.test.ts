import { beforeAll, describe, expect, it } from "vitest";
import { runCourse } from "../support/faults/course.ts";
import { ALL_POINTS } from "../support/faults/points.ts";
import { buildFaultDaemon } from "../support/faults/program.ts";
import { SCENARIOS } from "../support/faults/scenarios.ts";

let program = "";
beforeAll(async () => {
  program = await buildFaultDaemon();
});

describe.concurrent("the daemon dies once, and is started again", () => {
  it.for(ALL_POINTS)("$step, $point", async ({ step, point }) => {
    const outcome = await runCourse({ scenario: SCENARIOS[step], kills: [{ step, point, hit: 1 }], program });
    expect(outcome.findings, outcome.output).toEqual([]);
    expect(outcome.killed, `the point was never reached\n${outcome.output}`).toBe(1);
  });
});
