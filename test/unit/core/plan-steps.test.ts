import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import {
  after,
  booting,
  busy,
  ending,
  forge,
  fresh,
  input,
  job,
  NOW,
  type PlanRow,
  planned,
  poolView,
  ready,
  SECOND,
  shown,
  steps,
  T,
  warm,
} from "./build.ts";

const lane = (id: number, name: string): ReadonlySet<string> => new Set([`${fresh(id).id}:${name}`]);
const forJob = { jobKey: job(1).key };
const exit = { code: 0, signal: null, at: 0 };

describe("the way of a runner to its job", () => {
  it.each<PlanRow>([
    {
      what: "cold: recorded, registered and booted at once",
      given: { jobs: [job(1)] },
      expected: ["create a", "boot new", "register new"],
    },
    {
      what: "spare: booted without a registration where the queue can be read",
      given: { pools: [poolView({ minIdle: 1 })] },
      expected: ["create a", "boot new"],
    },
    {
      what: "spare: registered where the forge shows no queue",
      given: { pools: [poolView({ minIdle: 1 })], forges: { [T]: forge({ listsQueue: false }) } },
      expected: ["create a", "boot new", "register new"],
    },
    {
      what: "warm: registered when a job is matched to it",
      given: { runners: [warm(1)], jobs: [job(1)] },
      expected: ["register 1"],
    },
    {
      what: "warm: nothing without a job",
      given: { runners: [warm(1)], pools: [poolView({ minIdle: 1 })] },
      expected: [],
    },
    {
      what: "recorded and no more, by a process that died: begun again",
      given: { runners: [fresh(1, forJob)], jobs: [job(1)] },
      expected: ["boot 1", "register 1"],
    },
    {
      what: "recorded for a job that waits no more: not registered, since it would take any job",
      given: { runners: [fresh(1, forJob)], pools: [poolView({ minIdle: 1 })] },
      expected: ["boot 1"],
    },
    {
      what: "warm, and another that boots is registered for the job already: not registered too",
      given: { runners: [warm(1), booting(2)], jobs: [job(1)] },
      expected: ["give 2"],
    },
    {
      what: "a registration and a boot that a process began and never ended are carried on",
      given: {
        runners: [after(fresh(1, forJob), [{ kind: "register-asked" }, { kind: "boot-asked" }])],
        jobs: [job(1)],
      },
      expected: ["boot 1", "register 1"],
    },
    {
      what: "while they run nothing is begun twice",
      given: {
        runners: [after(fresh(1, forJob), [{ kind: "register-asked" }, { kind: "boot-asked" }])],
        jobs: [job(1)],
        inFlight: new Set([...lane(1, "forge"), ...lane(1, "host")]),
      },
      expected: [],
    },
    {
      what: "credentials wait for the registration",
      given: {
        runners: [after(fresh(1, forJob), [{ kind: "booted" }, { kind: "register-asked" }])],
        jobs: [job(1)],
        inFlight: lane(1, "forge"),
      },
      expected: [],
    },
    {
      what: "booted and registered: given its credentials",
      given: { runners: [booting(1, forJob)], jobs: [job(1)] },
      expected: ["give 1"],
    },
    {
      what: "given: nothing until the engine listens",
      given: {
        runners: [after(booting(1, forJob), [{ kind: "agent-up" }, { kind: "credentials-given" }])],
        jobs: [job(1)],
      },
      expected: [],
    },
    {
      what: "listening: the credentials are withdrawn",
      given: {
        runners: [after(booting(1, forJob), [{ kind: "credentials-given" }, { kind: "listening" }])],
        jobs: [job(1)],
      },
      expected: ["withdraw 1"],
    },
    {
      what: "a job faster than the withdrawal: withdrawn all the same",
      given: { runners: [after(booting(1), [{ kind: "credentials-given" }, { kind: "assigned", job: {} }])] },
      expected: ["withdraw 1"],
    },
    { what: "ready and matched: nothing", given: { runners: [ready(1)], jobs: [job(1)] }, expected: [] },
    { what: "busy: nothing", given: { runners: [busy(1)] }, expected: [] },
    {
      what: "finished, its sandbox about to end: nothing, although the forge has deleted its row",
      given: {
        runners: [after(busy(1), [{ kind: "job-finished", result: "success" }])],
        forges: { [T]: forge({ rows: [], rowsRead: 9 }) },
        memory: { ...input().memory, suspects: { [`${fresh(1).id} row`]: 1 } },
      },
      expected: [],
    },
    {
      what: "finished and its sandbox ended: ended",
      given: { runners: [after(busy(1), [{ kind: "job-finished" }, { kind: "sandbox-exited", exit }])] },
      expected: ["end 1 finished"],
    },
    {
      what: "the engine ended without a job: ended as failed",
      given: { runners: [after(ready(1), [{ kind: "engine-exited", code: 1 }])] },
      expected: ["end 1 engine-failed"],
    },
    {
      what: "the sandbox ended under its job: ended as such",
      given: { runners: [after(busy(1), [{ kind: "sandbox-exited", exit }])] },
      expected: ["end 1 sandbox-exited"],
    },
    {
      what: "the sandbox vanished from the host: ended",
      given: { runners: [after(ready(1), [{ kind: "sandbox-gone" }])] },
      expected: ["end 1 sandbox-exited"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("binds a warm runner to the job it is matched to", () => {
    const waiting = job(1, { handle: "h1" });
    const output = planned({ runners: [warm(1)], forges: { [T]: forge({ jobs: [waiting], bindsJobs: true }) } });
    expect(output.steps).toEqual([{ kind: "register", runner: warm(1).id, job: waiting }]);
  });

  it("records of a new runner what its pool says, and the job's times", () => {
    const view = poolView({ minIdle: 0, memoryMib: 2_048, vcpus: 4, prefix: "ci", labels: ["linux", "big"] });
    const output = planned({ pools: [view], jobs: [job(1, { queuedAt: 5, at: 7, handle: "h" })] });
    const [step] = output.steps;
    expect(step?.kind === "create" ? step.runner : undefined).toMatchObject({
      id: expect.stringMatching(/^a-[0-9a-f]{24}$/),
      name: expect.stringMatching(/^ci-[0-9a-f]{24}$/),
      memoryMib: 2_048,
      vcpus: 4,
      labels: ["linux", "big"],
      jobKey: job(1).key,
      handle: "h",
      since: NOW,
      timeline: { queued: 5, observed: 7 },
    });
  });
});

describe("winding down", () => {
  const gone = { phase: "gone" } as const;
  it.each<PlanRow>([
    {
      what: "of a forge that the configuration names no more: its row is out of reach",
      given: { runners: [after(ending(ready(1)), [{ kind: "sandbox-gone" }])], forges: {} },
      expected: ["close 1"],
    },
    {
      what: "the sandbox goes first: its engine may take a job until then",
      given: { runners: [ending(ready(1))] },
      expected: ["destroy 1"],
    },
    {
      what: "also one whose engine starts only now",
      given: { runners: [ending(after(booting(1), [{ kind: "agent-up" }, { kind: "credentials-given" }]))] },
      expected: ["destroy 1"],
    },
    {
      what: "with the agent's word that it takes no job any more, both go at once",
      given: { runners: [ending(after(ready(1), [{ kind: "drained" }]))] },
      expected: ["destroy 1", "deregister 1"],
    },
    {
      what: "with the engine's end too",
      given: { runners: [ending(after(ready(1), [{ kind: "engine-exited", code: 1 }]))] },
      expected: ["destroy 1", "deregister 1"],
    },
    {
      what: "and with the sandbox's",
      given: { runners: [ending(after(ready(1), [{ kind: "sandbox-exited", exit }]))] },
      expected: ["destroy 1", "deregister 1"],
    },
    {
      what: "a registration whose answer was lost is looked for",
      given: {
        runners: [ending(after(fresh(1), [{ kind: "register-asked" }, { kind: "booted" }, { kind: "sandbox-gone" }]))],
      },
      expected: ["deregister 1"],
    },
    {
      what: "what is under way is waited for",
      given: { runners: [ending(ready(1))], inFlight: new Set([...lane(1, "host"), ...lane(1, "forge")]) },
      expected: [],
    },
    {
      what: "a warm one has no registration to delete",
      given: { runners: [ending(warm(1))] },
      expected: ["destroy 1"],
    },
    {
      what: "its sandbox is gone: only the row is left",
      given: { runners: [{ ...ending(ready(1)), sandbox: gone }] },
      expected: ["deregister 1"],
    },
    {
      what: "its row is gone: only the sandbox is left",
      given: { runners: [{ ...ending(ready(1)), registration: gone }] },
      expected: ["destroy 1"],
    },
    {
      what: "both are gone: closed",
      given: { runners: [{ ...ending(ready(1)), registration: gone, sandbox: gone }] },
      expected: ["close 1"],
    },
    { what: "nothing was ever made: closed", given: { runners: [ending(fresh(1))] }, expected: ["close 1"] },
    {
      what: "nothing was made yet, but a boot may be under way: not closed",
      given: { runners: [ending(fresh(1))], inFlight: lane(1, "host") },
      expected: [],
    },
    {
      what: "nothing was made yet, but a registration may be under way: not closed",
      given: { runners: [ending(fresh(1))], inFlight: lane(1, "forge") },
      expected: [],
    },
    {
      what: "a forge in trouble is left alone, the sandbox goes",
      given: { runners: [ending(ready(1))], forges: { [T]: forge({ health: "frozen" }) } },
      expected: ["destroy 1"],
    },
    {
      what: "its pool is no more: it winds down all the same",
      given: { runners: [ending(after(ready(1, { pool: "old" }), [{ kind: "drained" }]))] },
      expected: ["destroy 1", "deregister 1"],
    },
    {
      what: "while it may still take the job it is bound to, no warm one is registered for that",
      given: {
        forges: { [T]: forge({ jobs: [job(1, { handle: "h1" })], bindsJobs: true }) },
        runners: [ending(ready(1, { handle: "h1" })), warm(2)],
      },
      expected: ["destroy 1"],
    },
    {
      what: "in drain mode it goes on",
      given: { mode: "drain", runners: [ending(ready(1)), ending(after(ready(2), [{ kind: "sandbox-gone" }]))] },
      expected: ["destroy 1", "deregister 2"],
    },
    {
      what: "in detach mode nothing is touched",
      given: { mode: "detach", runners: [ending(ready(1)), fresh(2)] },
      expected: [],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("tries what failed again when its wait is over, and wakes for it", () => {
    const runner = ending(after(ready(1), [{ kind: "drained" }]));
    const until = NOW + 20 * SECOND;
    const retries = { [`${runner.id}:host:destroy`]: { failures: 3, since: NOW, until, error: "device is busy" } };
    const memory = { ...input().memory, retries };
    const early = plan(input({ runners: [runner], memory }));
    expect(shown(early.steps)).toEqual(["deregister 1"]);
    expect(early.wakeAt).toBe(until);
    const late = plan(input({ runners: [runner], memory, now: until }));
    expect(shown(late.steps)).toEqual(["destroy 1", "deregister 1"]);
  });

  it("is not held up by a failed step of another kind in the same lane", () => {
    const runner = ending(after(ready(1), [{ kind: "drained" }]));
    const retries = { [`${runner.id}:host:drain`]: { failures: 1, since: NOW, until: NOW + 1, error: "no channel" } };
    expect(steps({ runners: [runner], memory: { ...input().memory, retries } })).toEqual(["destroy 1", "deregister 1"]);
  });
});
