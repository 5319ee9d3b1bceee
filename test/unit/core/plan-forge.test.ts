import { describe, expect, it } from "vitest";
import type { ForgeView, PlanMemory } from "../../../src/core/plan-types.ts";
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
  row,
  running,
  steps,
  T,
  warm,
} from "./build.ts";

const frozen = (over: Partial<ForgeView> = {}) => ({ [T]: forge({ health: "frozen", reason: "HTTP 502", ...over }) });
const suspecting = (subject: string, read: number): PlanMemory => ({
  ...input().memory,
  suspects: { [subject]: read },
});

describe("trouble with the forge", () => {
  it.each<PlanRow>([
    { what: "makes nothing for jobs", given: { forges: frozen({ jobs: [job(1)] }) }, expected: [] },
    {
      what: "makes nothing for the minimum",
      given: { pools: [poolView({ minIdle: 2, minRunners: 5 })], forges: frozen() },
      expected: [],
    },
    {
      what: "makes nothing before the first read",
      given: { pools: [poolView({ minIdle: 2 })], forges: {} },
      expected: [],
    },
    {
      what: "leaves busy, ready and warm runners alone",
      given: { runners: [busy(1), ready(2), warm(3)], forges: frozen({ rows: [], rowsRead: 9 }) },
      expected: [],
    },
    {
      what: "lets a boot that was recorded go on",
      given: { runners: [fresh(1, { jobKey: "x" })], forges: frozen() },
      expected: ["boot 1"],
    },
    {
      what: "lets a registered one be given its credentials",
      given: { runners: [booting(1)], forges: frozen() },
      expected: ["give 1"],
    },
    { what: "registers nothing", given: { runners: [warm(1)], forges: frozen({ jobs: [job(1)] }) }, expected: [] },
    {
      what: "does not end what another read would have ended",
      given: {
        runners: [ready(1, { handle: "h1" })],
        forges: frozen({ jobsRead: 9, rowsRead: 9, rows: [] }),
        memory: { ...input().memory, suspects: { [`${fresh(1).id} handle`]: 5, [`${fresh(1).id} row`]: 5 } },
      },
      expected: [],
    },
    {
      what: "at one forge does not hold up another",
      given: twoForges(),
      expected: ["create b", "boot new", "register new"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("is the reason why its jobs wait", () => {
    const output = planned({ forges: frozen({ jobs: [job(1)] }) });
    expect(output.reasons).toEqual([
      { job: job(1), code: "forge-frozen", detail: "the forge cannot be relied on at the moment: HTTP 502" },
    ]);
  });

  it("does not forget a suspicion", () => {
    const memory = suspecting(`${ready(1).id} row`, 4);
    const output = planned({ runners: [ready(1)], forges: frozen({ rows: [], rowsRead: 4 }), memory });
    expect(output.memory.suspects).toEqual(memory.suspects);
  });

  it("is over at the next good read, without a flood", () => {
    const jobs = [1, 2, 3].map((id) => job(id));
    const output = planned({ forges: { [T]: forge({ jobs }) } });
    expect(output.steps.filter(({ kind }) => kind === "create")).toHaveLength(3);
  });
});

describe("a registration that is gone from the forge", () => {
  const rows = (rowsRead: number, jobs: Job[] = [], present: number[] = []) => ({
    [T]: forge({ rows: present.map((id) => row(id)), rowsRead, jobs }),
  });
  const suspected = (runner: Runner) => suspecting(`${runner.id} row`, 5);

  it("is noted anew by a process whose count began anew", () => {
    const given = { runners: [ready(1)], forges: rows(1), memory: suspecting(`${ready(1).id} row`, 900) };
    expect(planned(given).memory.suspects).toEqual({ [`${ready(1).id} row`]: 1 });
  });

  it.each<PlanRow>([
    { what: "once: nothing", given: { runners: [ready(1)], forges: rows(5) }, expected: [] },
    {
      what: "once, planned twice: nothing",
      given: { runners: [ready(1)], forges: rows(5), memory: suspected(ready(1)) },
      expected: [],
    },
    {
      what: "at the next read, which may have begun before the row was made: nothing",
      given: { runners: [ready(1), busy(2)], forges: rows(6), memory: suspecting(`${ready(1).id} row`, 5) },
      expected: [],
    },
    {
      what: "noted by a process whose count was higher: nothing yet",
      given: { runners: [ready(1)], forges: rows(1), memory: suspecting(`${ready(1).id} row`, 900) },
      expected: [],
    },
    {
      what: "twice, idle: ended",
      given: { runners: [ready(1)], forges: rows(7), memory: suspected(ready(1)) },
      expected: ["end 1 orphaned"],
    },
    {
      what: "twice, but there again: nothing",
      given: { runners: [ready(1)], forges: rows(7, [], [1]), memory: suspected(ready(1)) },
      expected: [],
    },
    {
      what: "still being registered: nothing",
      given: {
        runners: [after(fresh(1), [{ kind: "register-asked" }, { kind: "booted" }])],
        forges: rows(7),
        memory: suspected(fresh(1)),
        inFlight: new Set([`${fresh(1).id}:forge`]),
      },
      expected: [],
    },
    {
      what: "busy, and its job still runs: nothing",
      given: { runners: [busy(1)], forges: rows(7, [running(7, 1)]), memory: suspected(busy(1)) },
      expected: [],
    },
    {
      what: "busy, and its job runs no more: cancelled",
      given: { runners: [busy(1)], forges: rows(7), memory: suspected(busy(1)) },
      expected: ["end 1 cancelled-by-forge"],
    },
    { what: "busy, seen once: nothing", given: { runners: [busy(1)], forges: rows(5) }, expected: [] },
    {
      what: "busy, and a forge that names no runners runs a job that may be its own: nothing",
      given: { runners: [busy(1)], forges: rows(7, [running(7, undefined)]), memory: suspected(busy(1)) },
      expected: [],
    },
    {
      what: "busy, and a forge that names no runners runs a job of other labels only: cancelled",
      given: {
        runners: [busy(1)],
        forges: rows(7, [running(7, undefined, { labels: ["arm"] })]),
        memory: suspected(busy(1)),
      },
      expected: ["end 1 cancelled-by-forge"],
    },
    {
      what: "busy with a bound job, and only jobs of other handles run: cancelled",
      given: {
        runners: [busy(1, { handle: "h1" })],
        forges: rows(7, [running(7, undefined, { handle: "h2" })]),
        memory: suspected(busy(1)),
      },
      expected: ["end 1 cancelled-by-forge"],
    },
    {
      what: "rows were never read: nothing",
      given: { runners: [ready(1)], forges: { [T]: forge({ rowsRead: 9 }) }, memory: suspected(ready(1)) },
      expected: [],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });
});

describe("failures of a pool", () => {
  const backoff = (until: number) => ({
    ...input().memory,
    pools: { a: { failures: 2, since: NOW - MINUTE, until, error: "no kernel" } },
  });

  it("make it wait, and say why", () => {
    const output = planned({ jobs: [job(1)], memory: backoff(NOW + MINUTE) });
    expect(output.steps).toEqual([]);
    expect(output.reasons[0]).toMatchObject({
      code: "backing-off",
      pool: "a",
      detail: "pool a waits 60 s more after 2 failures: no kernel",
    });
    expect(output.wakeAt).toBe(NOW + MINUTE);
  });
  it("make it try one runner only when the wait is over", () => {
    const output = planned({ jobs: [job(1), job(2), job(3)], memory: backoff(NOW), pools: [poolView({ minIdle: 3 })] });
    expect(output.steps.filter(({ kind }) => kind === "create")).toHaveLength(1);
    expect(reasons(output)).toEqual({ 1: "runner-starting", 2: "backing-off", 3: "backing-off" });
  });
  it("keep it at one until that one came to its work", () => {
    expect(steps({ jobs: [job(1), job(2)], runners: [booting(1)], memory: backoff(NOW) })).toEqual(["give 1"]);
    expect(steps({ jobs: [job(1), job(2)], runners: [ready(1)], memory: backoff(NOW) })).toContain("create a");
  });
  it("do not register its warm runners one after another", () => {
    expect(steps({ jobs: [job(1)], runners: [warm(1)], memory: backoff(NOW + MINUTE) })).toEqual([]);
  });
  it("are forgotten with the pool", () => {
    expect(planned({ pools: [], memory: backoff(NOW + MINUTE) }).memory.pools).toEqual({});
  });
  it("hold no place longer than the removal of what failed takes", () => {
    const failed = after(ending(fresh(1)), [{ kind: "boot-asked" }, { kind: "sandbox-gone" }]);
    const output = planned({ pools: [poolView({ maxRunners: 1 })], runners: [failed], jobs: [job(1)] });
    expect(output.steps.filter(({ kind }) => kind === "create")).toHaveLength(1);
  });
});

function twoForges() {
  const other = "https://other.test#instance";
  return {
    pools: [poolView(), poolView({ name: "b", order: 1, target: other })],
    forges: { ...frozen({ jobs: [job(1)] }), [other]: forge({ jobs: [job(2, { target: other })] }) },
  };
}

describe("a sandbox that ended while nobody listened", () => {
  const unwatched = after(busy(1), [
    { kind: "sandbox-exited", exit: { code: 0, signal: null, at: 0, unwatched: true } },
  ]);
  const unread = { [T]: forge({ health: "frozen", rowsRead: 0 }) };

  it.each<PlanRow>([
    { what: "waits for the forge's word", given: { runners: [unwatched], forges: unread }, expected: [] },
    {
      what: "is not asked to drain, though somebody wants it gone",
      given: {
        runners: [
          after(ready(1), [
            { kind: "removal-asked", reason: "forced", detail: "an operator ended it" },
            { kind: "sandbox-exited", exit: { code: 0, signal: null, at: 0, unwatched: true } },
          ]),
        ],
        forges: unread,
      },
      expected: [],
    },
    {
      what: "had finished its job when its row is gone",
      given: { runners: [unwatched], forges: { [T]: forge({ rows: [], rowsRead: 1 }) } },
      expected: ["end 1 finished"],
    },
    {
      what: "died under its job when its row is there",
      given: { runners: [unwatched], forges: { [T]: forge({ rows: [row(1)], rowsRead: 1 }) } },
      expected: ["end 1 sandbox-exited"],
    },
    {
      what: "is not waited for longer than two minutes",
      given: { runners: [unwatched], forges: unread, now: NOW + 2 * MINUTE },
      expected: ["end 1 sandbox-exited"],
    },
    {
      what: "is not waited for where the forge does not tell",
      given: { runners: [unwatched], forges: { [T]: forge({ rowsRead: 0, listsRunners: false }) } },
      expected: ["end 1 sandbox-exited"],
    },
    {
      what: "is not waited for where the configuration names its forge no more",
      given: { runners: [unwatched], forges: {} },
      expected: ["end 1 sandbox-exited"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });
});
