import { describe, expect, it } from "vitest";
import type { Runner } from "../../../src/core/types.ts";
import {
  after,
  booting,
  busy,
  forge,
  fresh,
  job,
  MINUTE,
  NOW,
  type PlanRow,
  planned,
  poolView,
  ready,
  steps,
  T,
  warm,
} from "./build.ts";

const old = { revision: "a" };
const today = { revision: "b" };
const EARLIER = NOW - MINUTE;
const two = (over: Parameters<typeof poolView>[0] = {}) => [poolView({ minIdle: 2, ...over }, today)];
const leaving = (runner: Runner): Runner =>
  after(runner, [{ kind: "ending", reason: "outdated", detail: "pool a or its image was changed" }]);
const inHostLane = (...numbers: number[]) => new Set(numbers.map((number) => `${warm(number).id}:host`));

describe("runners that were made from something older", () => {
  it.each<PlanRow>([
    {
      what: "stay until new ones are ready, which are made beside them",
      given: { pools: two(), runners: [warm(1, old), warm(2, old)] },
      expected: ["create a", "boot new", "create a", "boot new"],
    },
    {
      what: "stay while those boot",
      given: {
        pools: two(),
        runners: [warm(1, old), warm(2, old), fresh(3, today), fresh(4, today)],
        inFlight: inHostLane(3, 4),
      },
      expected: [],
    },
    {
      what: "go one for each that is ready, the oldest first",
      given: {
        pools: two(),
        runners: [warm(1, old), warm(2, { ...old, since: EARLIER - MINUTE }), warm(3, today), fresh(4, today)],
        inFlight: inHostLane(4),
      },
      expected: ["end 2 outdated"],
    },
    {
      what: "are all gone in the end",
      given: { pools: two(), runners: [warm(1, old), warm(3, today), warm(4, today)] },
      expected: ["end 1 outdated"],
    },
    {
      what: "go at once where the pool asks for no idle ones",
      given: { pools: [poolView({}, today)], runners: [warm(1, old), ready(2, old)] },
      expected: ["end 1 outdated", "drain 2 outdated"],
    },
    {
      what: "are replaced like this for minRunners, too, busy ones counted",
      given: { pools: [poolView({ minRunners: 2 }, today)], runners: [busy(1, old), warm(2, old), warm(3, today)] },
      expected: ["end 2 outdated"],
    },
    {
      what: "make room, one at a time, where there is none beside them",
      given: { pools: two({ maxRunners: 2 }), runners: [warm(1, old), warm(2, old)] },
      expected: ["end 1 outdated"],
    },
    {
      what: "stay where the new one that is made in their place takes the last room",
      given: { pools: [poolView({ minIdle: 1, maxRunners: 3 }, today)], runners: [busy(1, old), warm(2, old)] },
      expected: ["create a", "boot new"],
    },
    {
      what: "stay where there is room for some of the new ones only",
      given: { pools: two({ maxRunners: 3 }), runners: [warm(1, old), warm(2, old)] },
      expected: ["create a", "boot new"],
    },
    {
      what: "wait while one makes room",
      given: { pools: two({ maxRunners: 2 }), runners: [leaving(warm(1, old)), warm(2, old)], inFlight: inHostLane(1) },
      expected: [],
    },
    {
      what: "wait while the one that took the room boots",
      given: { pools: two({ maxRunners: 2 }), runners: [fresh(3, today), warm(2, old)], inFlight: inHostLane(3) },
      expected: [],
    },
    {
      what: "make room on a full host, too",
      given: { pools: two(), host: { memoryMib: 1_024, vcpus: 2 }, runners: [warm(1, old), warm(2, old)] },
      expected: ["end 1 outdated"],
    },
    {
      what: "go when they are not ready yet: nobody would miss them",
      given: { pools: two(), runners: [booting(1, { ...old, credentials: "none" })], inFlight: new Set() },
      expected: ["end 1 outdated", "create a", "boot new", "create a", "boot new"],
    },
    { what: "stay while they work", given: { pools: [poolView({}, today)], runners: [busy(1, old)] }, expected: [] },
    {
      what: "stay while they have a job in view",
      given: { pools: [poolView({}, today)], runners: [ready(1, old)], jobs: [job(1)] },
      expected: [],
    },
    {
      what: "still serve a job that comes, since they are ready",
      given: { pools: [poolView({}, today)], runners: [warm(1, old)], jobs: [job(1)] },
      expected: ["register 1"],
    },
    {
      what: "stay while the pool makes no new ones",
      given: { pools: [poolView({ minIdle: 2 }, { ...today, paused: true })], runners: [warm(1, old), warm(2, old)] },
      expected: [],
    },
    {
      what: "stay while it is not known what new ones would be made from",
      given: { pools: [poolView({ minIdle: 1 })], runners: [warm(1, old)] },
      expected: [],
    },
    {
      what: "stay while the forge is in trouble",
      given: { pools: two(), runners: [warm(1, old)], forges: { [T]: forge({ health: "frozen" }) } },
      expected: [],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given).toSorted()).toEqual(expected.toSorted());
  });

  it("new ones are marked with what they are made from", () => {
    const { steps: made } = planned({ pools: two() });
    expect(made.flatMap((step) => (step.kind === "create" ? step.runner.revision : []))).toEqual(["b", "b"]);
  });
});
