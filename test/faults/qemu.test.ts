import { beforeAll, describe, expect, it } from "vitest";
import { runCourse } from "../support/faults/course.ts";
import type { Ground } from "../support/faults/ground.ts";
import type { Kill, Point } from "../support/faults/orders.ts";
import { buildFaultDaemon, DIST } from "../support/faults/program.ts";
import { qemuGround } from "../support/faults/qemu-ground.ts";
import type { Scenario } from "../support/faults/scenarios.ts";

/** The steps at which most is made or taken away; all others by `npm run faults -- --driver qemu --points`. */
const STEPS = ["register", "boot", "give", "destroy", "deregister"] as const;

const oneAfterTheOther = (point: Point["point"]): Kill[] => STEPS.map((step) => ({ step, point, hit: 1 }));

/** One after the other, so that a runner is still to come, and to go, after each death. */
const jobs: Scenario = {
  title: "jobs come and end",
  maxRunners: 2,
  provoke: (act) => act.push({ short: 0.2, other: 0.2, last: 0.2 }),
};

let program = "";
let ground: Ground;
beforeAll(async () => {
  program = await buildFaultDaemon(DIST);
  ground = await qemuGround();
});

describe("the daemon dies again and again, with real guests", () => {
  it.for(["after-intent", "after-effect"] as const)("%s", async (point) => {
    const kills = oneAfterTheOther(point);
    const outcome = await runCourse({ scenario: jobs, kills, program, ground });
    expect(outcome.findings, outcome.output).toEqual([]);
    expect(outcome.killed, `a point was never reached\n${outcome.output}`).toBe(kills.length);
  });
});
