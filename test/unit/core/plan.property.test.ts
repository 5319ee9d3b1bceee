import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PlanOutput, PoolView } from "../../../src/core/plan-types.ts";
import { isLive } from "../../../src/core/runner.ts";
import { laneKey } from "../../../src/core/steps.ts";
import type { EndReason, Runner } from "../../../src/core/types.ts";
import { limits, MINUTE, poolView, SECOND } from "./build.ts";
import { createWorld, type World } from "./model.ts";

const short = limits({ job: 20 * MINUTE, lifetime: 60 * MINUTE });
const pools: PoolView[] = [
  poolView({ name: "a", labels: ["linux"], maxRunners: 3, minIdle: 1, limits: short }),
  poolView({ name: "b", order: 1, labels: ["linux", "big"], maxRunners: 2, minRunners: 1, limits: short }),
];

const mutePools = pools.map(({ pool, ...view }) => ({ ...view, pool: { ...pool, mute: true as const } }));

/** Reasons for which a runner may end although it holds a job. */
const STRONGER_THAN_A_JOB: ReadonlySet<EndReason> = new Set([
  "job-timeout",
  "lifetime",
  "cancelled-by-forge",
  "forced",
  "sandbox-exited",
]);

const OPERATIONS = [
  "plan",
  "complete",
  "fail",
  "guest",
  "deliver",
  "read",
  "freeze",
  "second",
  "minute",
  "push",
  "cancel",
  "poach",
  "pause",
  "resume",
  "kill",
  "hang",
  "deafen",
  "crash",
] as const;
const WEIGHTS: Record<(typeof OPERATIONS)[number], number> = {
  plan: 30,
  complete: 30,
  fail: 3,
  guest: 30,
  deliver: 25,
  read: 10,
  freeze: 1,
  second: 10,
  minute: 2,
  push: 8,
  cancel: 2,
  poach: 3,
  pause: 1,
  resume: 2,
  kill: 1,
  hang: 1,
  deafen: 1,
  crash: 1,
};

interface Act {
  do: (typeof OPERATIONS)[number];
  n: number;
}
const act: fc.Arbitrary<Act> = fc.record({
  do: fc.oneof(...OPERATIONS.map((name) => ({ weight: WEIGHTS[name], arbitrary: fc.constant(name) }))),
  n: fc.nat({ max: 255 }),
});
const forges = fc.constantFrom(
  { bindsJobs: false, listsQueue: true },
  { bindsJobs: true, listsQueue: true },
  { bindsJobs: false, listsQueue: false },
);

describe("the plan in a world that does what it likes", () => {
  it("keeps its promises at every moment, and converges when the world calms down", () => {
    fc.assert(
      fc.property(forges, fc.array(act, { maxLength: 400, size: "max" }), (kind, acts) => {
        const world = createWorld({ pools, ...kind });
        for (const each of acts) perform(world, each);
        calmDown(world);
        expect(world.jobs.filter(({ state }) => state !== "done")).toEqual([]);
        jobsSettled(world);
        restOnly(world, kind.listsQueue);
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  it("keeps them for runners whose agents are mute, of whom only the forge tells", () => {
    fc.assert(
      fc.property(fc.boolean(), fc.array(act, { maxLength: 400, size: "max" }), (isDrain, acts) => {
        const world = createWorld({ pools: mutePools, bindsJobs: false, listsQueue: true });
        for (const each of acts) perform(world, each);
        calmDown(world, isDrain ? "drain" : "run");
        jobsSettled(world);
        if (isDrain) expect([...world.records.keys(), ...world.guests.keys(), ...world.rows.keys()]).toEqual([]);
        else {
          expect(world.jobs.filter(({ state }) => state !== "done")).toEqual([]);
          restOnly(world, false);
        }
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  it("ends everything in drain mode, jobs that run last", () => {
    fc.assert(
      fc.property(forges, fc.array(act, { maxLength: 150, size: "max" }), (kind, acts) => {
        const world = createWorld({ pools, ...kind });
        for (const each of acts) perform(world, each);
        calmDown(world, "drain");
        expect([...world.records.keys()]).toEqual([]);
        expect([...world.guests.keys()]).toEqual([]);
        expect([...world.rows.keys()]).toEqual([]);
        jobsSettled(world);
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

function perform(world: World, { do: what, n }: Act): void {
  switch (what) {
    case "plan":
      checked(world);
      break;
    case "complete":
      world.complete(n, true);
      break;
    case "fail":
      world.complete(n, false);
      break;
    case "guest":
      world.guest(n);
      break;
    case "deliver":
      world.deliver(n);
      break;
    case "read":
      world.read();
      break;
    case "freeze":
      world.freeze();
      break;
    case "second":
      world.pass(n * 20);
      break;
    case "minute":
      world.pass(n * SECOND);
      break;
    case "push":
      world.push(n % 3 === 0 ? ["linux", "big"] : ["linux"]);
      break;
    case "cancel":
      world.cancel(n);
      break;
    case "poach":
      world.poach(n);
      break;
    case "pause":
      world.pause(n, true);
      break;
    case "resume":
      world.pause(n, false);
      break;
    case "kill":
      world.kill(n);
      break;
    case "hang":
      world.hang(n);
      break;
    case "deafen":
      world.deafen(n);
      break;
    case "crash":
      world.crash(n);
      break;
  }
}

/** Plans, and holds the plan to what must be true at every moment. */
function checked(world: World, mode: "run" | "drain" = "run"): PlanOutput {
  const before = new Map(world.records);
  const busyLanes = new Set(world.inFlight.keys());
  const killedBefore = world.killed.length;
  const frozen = world.view.health === "frozen";
  const output = world.plan(mode);

  const lanes = output.steps.map(laneKey);
  expect(new Set(lanes).size, "one step a lane").toBe(lanes.length);
  for (const lane of lanes) expect(busyLanes.has(lane), `${lane} is in flight`).toBe(false);

  for (const step of output.steps) {
    if (step.kind === "create") expect(frozen || mode === "drain", "creates only where it may").toBe(false);
    if (step.kind !== "end") continue;
    const runner = before.get(step.runner);
    // That its row is gone, as after every job, is all that can be known of a mute one.
    if (runner?.mute === true && step.reason === "finished") continue;
    if (runner?.agent.phase === "busy") expect(STRONGER_THAN_A_JOB, step.detail).toContain(step.reason);
  }
  for (const { pool } of pools) {
    const live = [...world.records.values()].filter((runner) => runner.pool === pool.name && isLive(runner));
    expect(live.length, "never above the maximum").toBeLessThanOrEqual(pool.maxRunners);
  }
  expect(world.killed.length).toBe(killedBefore);
  expect(world.exposed, "the row of an engine that may take a job stays").toEqual([]);
  for (const runner of world.killed) expect(mayKill(runner), JSON.stringify(runner.ending)).toBe(true);

  const handles = [...world.records.values()]
    .filter((runner) => runner.ending === undefined)
    .map(({ handle }) => handle);
  const bound = handles.filter((handle) => handle !== undefined);
  expect(new Set(bound).size, "never two runners for one handle").toBe(bound.length);
  return output;
}

/** A guest that held a job was destroyed: only for one of these, or since its agent had said otherwise for too long. */
function mayKill({ ending, mute }: Runner): boolean {
  if (mute === true && ending?.reason === "finished") return true;
  return ending !== undefined && (STRONGER_THAN_A_JOB.has(ending.reason) || TIMEOUTS.has(ending.reason));
}
const TIMEOUTS: ReadonlySet<EndReason> = new Set(["boot-timeout", "ready-timeout", "orphaned"]);

/** Everything works from here on, and nothing new comes: lets the world go on until nothing changes any more. */
function calmDown(world: World, mode: "run" | "drain" = "run"): void {
  for (const index of pools.keys()) world.pause(index, false);
  world.release();
  for (let round = 0; round < 2_000; round++) {
    world.read();
    const { steps, wakeAt } = checked(world, mode);
    const busy = steps.length > 0 || world.inFlight.size > 0;
    while (world.inFlight.size > 0) world.complete(0, true);
    let moved = false;
    for (const [index, guest] of [...world.guests.values()].entries()) {
      const phase = guest.phase;
      world.guest(index);
      moved ||= guest.phase !== phase || guest.said.length > 0;
    }
    for (let count = 0; count < 50; count++) world.deliver(0);
    if (busy || moved) world.pass(SECOND);
    else if (world.expire()) world.pass(SECOND);
    else if (wakeAt === undefined) return;
    else if (isAtRest(world)) return;
    else world.pass(Math.min(Math.max(wakeAt - world.now(), SECOND), MINUTE));
  }
  throw new Error(`it did not come to rest: ${JSON.stringify([...world.records.values()])}`);
}

/** Only runners that wait to live out their days are left. */
function isAtRest(world: World): boolean {
  const rested = 16 * MINUTE;
  return (
    world.jobs.every(({ state }) => state === "done") &&
    Object.values(world.memory().pools).every(({ until }) => until <= world.now()) &&
    [...world.records.values()].every(
      ({ agent, ending }) =>
        ending === undefined &&
        (agent.phase === "up" || agent.phase === "listening") &&
        world.now() - agent.since > rested,
    )
  );
}

/** Of every job whose runner ended under it the forge was told, or the record says that and why it was not. */
function jobsSettled(world: World): void {
  for (const { agent, ending, outcome } of world.closed) {
    if (agent.phase !== "busy" || ending?.reason === "finished" || ending?.reason === "cancelled-by-forge") continue;
    expect(outcome, JSON.stringify(ending)).toBeDefined();
  }
  for (const name of world.expired) {
    const runner = world.closed.find((closed) => closed.name === name);
    // What nobody heard of a guest before it died is known to none.
    if (runner?.agent.phase === "busy") expect(runner.outcome).toMatchObject({ state: "left" });
  }
}

/** What is left is the minimum, and nothing of anything else. */
function restOnly(world: World, listsQueue: boolean): void {
  const runners = [...world.records.values()];
  const count = (pool: string) => runners.filter((runner) => runner.pool === pool).length;
  expect([count("a"), count("b")]).toEqual([1, 1]);
  expect(new Set(world.guests.keys())).toEqual(new Set(runners.map((runner) => runner.hex)));
  const rows = runners.flatMap(({ registration }) => (registration.phase === "active" ? registration.row : []));
  expect(new Set(world.rows.keys())).toEqual(new Set(rows));
  if (!listsQueue) expect(rows.length).toBe(2);
}
