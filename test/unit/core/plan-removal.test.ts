import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import type { PlanMemory } from "../../../src/core/plan-types.ts";
import type { Job, Runner } from "../../../src/core/types.ts";
import {
  after,
  booting,
  busy,
  ending,
  forge,
  fresh,
  input,
  job,
  MINUTE,
  NOW,
  type PlanRow,
  planned,
  poolView,
  ready,
  reasons,
  running,
  SECOND,
  shown,
  steps,
  T,
  warm,
} from "./build.ts";

const LONG_AGO = NOW - 20 * MINUTE;
const draining = (runner: Runner, at = NOW): Runner =>
  after(runner, [{ kind: "draining", reason: "idle-timeout", detail: "no job" }], at);
const remembering = (over: Partial<PlanMemory>): PlanMemory => ({ ...input().memory, ...over });

describe("removing idle runners", () => {
  it.each<PlanRow>([
    {
      what: "a listening one is asked first",
      given: { runners: [ready(1, {}, LONG_AGO)] },
      expected: ["drain 1 idle-timeout"],
    },
    {
      what: "a listening one whose hand-over was not recorded is asked first, too",
      given: { runners: [{ ...ready(1, {}, LONG_AGO), credentials: "none" }], inFlight: new Set([`${ready(1).id}:x`]) },
      expected: ["drain 1 idle-timeout"],
    },
    { what: "a warm one is ended", given: { runners: [warm(1, {}, LONG_AGO)] }, expected: ["end 1 idle-timeout"] },
    { what: "not before its idle age", given: { runners: [ready(1)] }, expected: [] },
    {
      what: "never below minIdle, the one that waited longest first",
      given: {
        pools: [poolView({ minIdle: 2 })],
        runners: [warm(1, {}, LONG_AGO), warm(2, {}, LONG_AGO - 1), warm(3, {}, LONG_AGO)],
      },
      expected: ["end 2 idle-timeout"],
    },
    {
      what: "never below minRunners, busy ones included",
      given: {
        pools: [poolView({ minRunners: 2 })],
        runners: [busy(1), ready(2, {}, LONG_AGO), ready(3, {}, LONG_AGO)],
      },
      expected: ["drain 2 idle-timeout"],
    },
    {
      what: "not one that a waiting job is matched to",
      given: { runners: [ready(1, {}, LONG_AGO)], jobs: [job(1)], memory: remembering({}) },
      expected: [],
    },
    { what: "not a busy one", given: { runners: [busy(1, {}, LONG_AGO)] }, expected: [] },
    {
      what: "not one that the forge shows with a job, though its agent said nothing yet",
      given: { runners: [ready(1, {}, LONG_AGO)], jobs: [running(7, 1)] },
      expected: [],
    },
    {
      what: "not one that is still starting",
      given: { runners: [booting(1, {}, NOW)], inFlight: hostLane(1) },
      expected: [],
    },
    {
      what: "not one that is being given its credentials at this moment",
      given: {
        runners: [after(warm(1, {}, LONG_AGO), [{ kind: "registered", row: 1, uuid: "" }])],
        inFlight: hostLane(1),
        mode: "drain",
      },
      expected: [],
    },
    {
      what: "not while the forge is in trouble",
      given: { runners: [ready(1, {}, LONG_AGO), warm(2, {}, LONG_AGO)], forges: { [T]: forge({ health: "frozen" }) } },
      expected: [],
    },
    {
      what: "a paused pool may still shrink",
      given: { pools: [poolView({}, { paused: true })], runners: [warm(1, {}, LONG_AGO)] },
      expected: ["end 1 idle-timeout"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("wakes when the next one reaches its idle age", () => {
    expect(planned({ runners: [ready(1, {}, NOW - MINUTE)] }).wakeAt).toBe(NOW + 14 * MINUTE);
  });
});

describe("a drain", () => {
  it.each<PlanRow>([
    { what: "is waited for", given: { runners: [draining(ready(1))] }, expected: [] },
    {
      what: "answered: ended for the reason it was asked for",
      given: { runners: [after(draining(ready(1)), [{ kind: "drained" }])] },
      expected: ["end 1 idle-timeout"],
    },
    {
      what: "answered before the step that asked has ended: its reason is waited for",
      given: { runners: [after(ready(1), [{ kind: "drained" }])], inFlight: hostLane(1) },
      expected: [],
    },
    {
      what: "answered by an agent that nobody asked: ended",
      given: { runners: [after(ready(1), [{ kind: "drained" }])] },
      expected: ["end 1 scale-down"],
    },
    {
      what: "answered with a job that arrived in that moment: kept",
      given: { runners: [after(draining(ready(1)), [{ kind: "assigned", job: {} }])] },
      expected: ["keep 1"],
    },
    {
      what: "answered by a job, its other answer comes late: kept",
      given: { runners: [after(draining(ready(1)), [{ kind: "assigned", job: {} }, { kind: "drained" }])] },
      expected: ["keep 1"],
    },
    {
      what: "kept: it goes on like any busy one",
      given: { runners: [after(draining(ready(1)), [{ kind: "assigned", job: {} }, { kind: "kept" }])] },
      expected: [],
    },
    {
      what: "answered by the forge first: not ended, whatever else is due",
      given: { runners: [draining(ready(1))], jobs: [running(7, 1)], mode: "drain" },
      expected: [],
    },
    {
      what: "not answered: asked again",
      given: { runners: [draining(ready(1), NOW - 30 * SECOND)] },
      expected: ["drain 1 idle-timeout"],
    },
    {
      what: "its sandbox ended over it: ended for the reason it was asked for",
      given: {
        runners: [after(draining(ready(1)), [{ kind: "sandbox-exited", exit: { code: 0, signal: null, at: 0 } }])],
      },
      expected: ["end 1 idle-timeout"],
    },
    {
      what: "counts for no job that arrives meanwhile",
      given: { runners: [draining(ready(1))], jobs: [job(1)] },
      expected: ["create a", "boot new", "register new"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("is repeated no sooner than after its patience, also when the record shows no change", () => {
    const first = planned({ runners: [draining(ready(1), NOW - 30 * SECOND)] });
    const again = planned({
      runners: [draining(ready(1), NOW - 30 * SECOND)],
      memory: first.memory,
      now: NOW + SECOND,
    });
    expect(shown(again.steps)).toEqual([]);
    expect(again.wakeAt).toBe(NOW + 30 * SECOND);
  });
});

describe("a runner bound to a job", () => {
  const bound = (over: Partial<Runner> = {}) => ready(1, { handle: "h1", ...over });
  const view = (jobs: Job[], jobsRead: number) => ({ [T]: forge({ bindsJobs: true, jobs, jobsRead }) });
  const suspected = (runner: Runner) => remembering({ suspects: { [`${runner.id} handle`]: 5 } });

  it("is kept while its job waits", () => {
    expect(
      steps({ runners: [bound()], forges: view([job(1, { handle: "h1" })], 9), memory: suspected(bound()) }),
    ).toEqual([]);
  });
  it("is suspected at the first read without its job", () => {
    const output = planned({ runners: [bound()], forges: view([], 5) });
    expect(shown(output.steps)).toEqual([]);
    expect(output.memory.suspects).toEqual({ [`${bound().id} handle`]: 5 });
  });
  it("is not removed by planning twice on one read", () => {
    expect(steps({ runners: [bound()], forges: view([], 5), memory: suspected(bound()) })).toEqual([]);
  });
  it("is removed at the second read without its job", () => {
    expect(steps({ runners: [bound()], forges: view([], 6), memory: suspected(bound()) })).toEqual([
      "drain 1 job-gone",
    ]);
  });
  it("is removed at once when it never got credentials", () => {
    const early = booting(1, { handle: "h1" });
    expect(steps({ runners: [early], forges: view([], 6), memory: suspected(early) })).toEqual(["end 1 job-gone"]);
  });
  it("is forgiven when its job is back", () => {
    const output = planned({
      runners: [bound()],
      forges: view([job(1, { handle: "h1" })], 6),
      memory: suspected(bound()),
    });
    expect(output.memory.suspects).toEqual({});
  });
  it("is kept when it runs its job", () => {
    const jobs = [running(1, 1, { handle: "h1" })];
    expect(steps({ runners: [bound()], forges: view(jobs, 6), memory: suspected(bound()) })).toEqual([]);
  });
});

describe("a runner that leaves its job alone", () => {
  const matched = (since: number, id = 1) => remembering({ matches: { [ready(id).id]: { job: job(1).key, since } } });

  it("is watched from the moment it listens and is matched", () => {
    const output = planned({ runners: [ready(1)], jobs: [job(1)] });
    expect(output.memory.matches).toEqual({ [ready(1).id]: { job: job(1).key, since: NOW } });
    expect(output.wakeAt).toBe(NOW + 15 * SECOND);
    expect(planned({ runners: [booting(1)], jobs: [job(1)] }).memory.matches).toEqual({});
  });
  it("is replaced after three fetch intervals", () => {
    expect(steps({ runners: [ready(1)], jobs: [job(1)], memory: matched(NOW - 15 * SECOND + 1) })).toEqual([]);
    expect(steps({ runners: [ready(1)], jobs: [job(1)], memory: matched(NOW - 15 * SECOND) })).toEqual([
      "drain 1 left-alone",
    ]);
  });
  it("keeps its job although another runner listens too", () => {
    const runners = [ready(2, {}, NOW - MINUTE), ready(1)];
    const output = planned({ runners, jobs: [job(1)], memory: matched(NOW - SECOND) });
    expect(output.memory.matches).toEqual({ [ready(1).id]: { job: job(1).key, since: NOW - SECOND } });
  });
  it("begins anew with another job", () => {
    const output = planned({ runners: [ready(1)], jobs: [job(2)], memory: matched(NOW - MINUTE) });
    expect(output.memory.matches).toEqual({ [ready(1).id]: { job: job(2).key, since: NOW } });
  });
  it("begins anew after trouble with the forge", () => {
    const forges = { [T]: forge({ jobs: [job(1)], health: "frozen" }) };
    expect(planned({ runners: [ready(1)], forges, memory: matched(NOW - MINUTE) }).memory.matches).toEqual({});
  });

  it("makes the job unservable when it is the third in a row", () => {
    const key = job(1).key;
    let memory = remembering({});
    for (const id of [1, 2, 3]) {
      memory = { ...memory, matches: matched(NOW - 15 * SECOND, id).matches };
      memory = planned({ runners: [ready(id)], jobs: [job(1)], memory }).memory;
    }
    expect(memory.unservable[key]).toEqual({ strikes: [], until: NOW + 10 * MINUTE, rounds: 1 });
    const resting = planned({ jobs: [job(1)], memory, now: NOW + 10 * MINUTE - 1 });
    expect(resting.steps).toEqual([]);
    expect(reasons(resting)).toEqual({ 1: "unservable" });
    expect(resting.wakeAt).toBe(NOW + 10 * MINUTE);
    expect(steps({ jobs: [job(1)], memory, now: NOW + 10 * MINUTE })).toContain("create a");
  });
  it("counts a runner once, however often it is asked", () => {
    const strikes = [ready(1).id, ready(2).id];
    const memory = { ...matched(NOW - MINUTE), unservable: { [job(1).key]: { strikes, until: 0, rounds: 0 } } };
    expect(planned({ runners: [ready(1)], jobs: [job(1)], memory }).memory.unservable[job(1).key]?.strikes).toEqual(
      strikes,
    );
  });
  it.each([
    [1, 20],
    [2, 40],
    [4, 160],
    [5, 240],
    [50, 240],
  ])("rests longer each time: after %i rounds %i min", (rounds, minutes) => {
    const strikes = [ready(8).id, ready(9).id];
    const memory = { ...matched(NOW - MINUTE), unservable: { [job(1).key]: { strikes, until: 0, rounds } } };
    const output = planned({ runners: [ready(1)], jobs: [job(1)], memory });
    expect(output.memory.unservable[job(1).key]?.until).toBe(NOW + minutes * MINUTE);
  });
  it("is forgotten with its job", () => {
    const memory = remembering({ unservable: { [job(1).key]: { strikes: [], until: NOW + MINUTE, rounds: 1 } } });
    expect(planned({ memory }).memory.unservable).toEqual({});
    expect(planned({ memory, jobs: [job(1)] }).memory.unservable).toEqual(memory.unservable);
  });
});

describe("runners that the configuration does not want any more", () => {
  it.each<PlanRow>([
    {
      what: "an idle one of a pool that is gone",
      given: { runners: [ready(1, { pool: "old" })] },
      expected: ["drain 1 outdated"],
    },
    { what: "a busy one of a pool that is gone stays", given: { runners: [busy(1, { pool: "old" })] }, expected: [] },
    {
      what: "a warm one with old labels is replaced",
      given: { pools: [poolView({ minIdle: 1 })], runners: [warm(1, { labels: ["x"] })] },
      expected: ["create a", "boot new"],
    },
    {
      what: "and ended when the other is ready",
      given: { pools: [poolView({ minIdle: 1 })], runners: [warm(1, { labels: ["x"] }), warm(2)] },
      expected: ["end 1 outdated"],
    },
    {
      what: "one that a job is matched to stays",
      given: { runners: [ready(1, { memoryMib: 1 })], jobs: [job(1)] },
      expected: [],
    },
    {
      what: "a warm one with other memory gets no job",
      given: { runners: [warm(1, { memoryMib: 1 })], jobs: [job(1)] },
      expected: ["create a", "boot new", "register new", "end 1 outdated"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });
});

describe("drain mode", () => {
  it.each<PlanRow>([
    {
      what: "asks the listening, ends the warm and the starting, keeps the busy",
      given: { runners: [ready(1), warm(2), fresh(3), busy(4)], jobs: [job(1)] },
      expected: ["drain 1 shutdown", "end 2 shutdown", "end 3 shutdown"],
    },
    {
      what: "does so below the minimum too",
      given: { pools: [poolView({ minIdle: 1, minRunners: 1 })], runners: [warm(1)] },
      expected: ["end 1 shutdown"],
    },
    {
      what: "does so while the forge is in trouble",
      given: { runners: [ready(1)], forges: { [T]: forge({ health: "frozen" }) } },
      expected: ["drain 1 shutdown"],
    },
    {
      what: "waits for one that has credentials and does not listen yet",
      given: { runners: [after(booting(1), [{ kind: "credentials-given" }])] },
      expected: [],
    },
    {
      what: "keeps one that the forge shows with a job",
      given: { runners: [ready(1)], jobs: [running(7, 1)] },
      expected: [],
    },
    { what: "lets what ends end", given: { runners: [ending(ready(1))] }, expected: ["destroy 1"] },
  ])("$what", ({ given, expected }) => {
    expect(shown(plan(input({ ...given, mode: "drain" })).steps)).toEqual(expected);
  });
});

function hostLane(id: number): ReadonlySet<string> {
  return new Set([`${fresh(id).id}:host`]);
}

describe("a removal that somebody asked for", () => {
  const asked = (runner: Runner): Runner =>
    after(runner, [{ kind: "removal-asked", reason: "forced", detail: "an operator" }]);

  it.each<PlanRow>([
    { what: "asks a listening runner first", given: { runners: [asked(ready(1))] }, expected: ["drain 1 forced"] },
    { what: "ends a warm one", given: { runners: [asked(warm(1))] }, expected: ["end 1 forced"] },
    { what: "ends one that has no credentials", given: { runners: [asked(booting(1))] }, expected: ["end 1 forced"] },
    {
      what: "is taken back when the runner turns out to hold a job",
      given: { runners: [after(asked(ready(1)), [{ kind: "assigned", job: {} }])] },
      expected: ["keep 1"],
    },
    {
      what: "waits while the runner is being asked",
      given: { runners: [asked(ready(1))], inFlight: new Set([`${fresh(1).id}:host`]) },
      expected: [],
    },
    {
      what: "leaves its runner's job to another runner",
      given: { runners: [asked(ready(1))], jobs: [job(5)] },
      expected: ["drain 1 forced", "create a", "boot new", "register new"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("changes nothing about a busy runner", () => {
    const runner = busy(1);
    expect(asked(runner)).toBe(runner);
  });
});
