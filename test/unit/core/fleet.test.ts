import { describe, expect, it } from "vitest";
import { ALONE, type Fleet, placeOf } from "../../../src/core/fleet.ts";
import type { OtherRow } from "../../../src/core/plan-types.ts";
import type { Job, Runner } from "../../../src/core/types.ts";
import {
  after,
  booting,
  forge,
  hex,
  job,
  MINUTE,
  NOW,
  planned,
  poolView,
  ready,
  reasons,
  row,
  SECOND,
  shown,
  T,
  warm,
} from "./build.ts";

const NAMES = Array.from({ length: 20 }, (_, index) => `ci-${index}`);
const JOBS = Array.from({ length: 1_000 }, (_, index) => index + 1);

describe("a host's place", () => {
  it("with names is each place exactly once, for every job", () => {
    for (const id of JOBS) {
      const places = NAMES.map((self) => placeOf(id, { self, hosts: NAMES }));
      expect(places.toSorted((a, b) => a - b)).toEqual(NAMES.map((_, index) => index));
    }
  });

  it("comes first for about as many jobs on every host", () => {
    const firsts = NAMES.map((self) => JOBS.filter((id) => placeOf(id, { self, hosts: NAMES }) === 0).length);
    // 50 each is expected; five standard deviations of the binomial are 34.
    for (const count of firsts) expect(Math.abs(count - 50)).toBeLessThan(34);
  });

  it("does not depend on the order of the list, and hardly on who else is in it", () => {
    for (const id of JOBS.slice(0, 50)) {
      const place = placeOf(id, { self: "ci-3", hosts: NAMES });
      expect(placeOf(id, { self: "ci-3", hosts: NAMES.toReversed() })).toBe(place);
      const without = placeOf(id, { self: "ci-3", hosts: NAMES.filter((name) => name !== "ci-7") });
      expect([place, place - 1]).toContain(without);
    }
  });

  it("is behind all others for a host that the list lacks", () => {
    expect(placeOf(1, { self: "elsewhere", hosts: NAMES })).toBe(20);
  });

  it("with a number alone is drawn between 0 and the number", () => {
    const places = JOBS.map((id) => placeOf(id, { self: "abc123", hosts: 20 }));
    for (const place of places) expect(place >= 0 && place < 20).toBe(true);
    const mean = places.reduce((sum, place) => sum + place, 0) / places.length;
    expect(Math.abs(mean - 10)).toBeLessThan(1);
    expect(placeOf(1, ALONE)).toBe(0);
  });
});

/** The host that has this place for job 1, seen by itself. */
const inPlace = (place: number): Fleet => {
  const self = NAMES.find((name) => placeOf(1, { self: name, hosts: NAMES }) === place) ?? "";
  return { self, hosts: NAMES };
};
const seen = (milliseconds: number, over: Partial<Job> = {}): Job => job(1, { since: NOW - milliseconds, ...over });
const view = (jobs: Job[], over: Parameters<typeof forge>[0] = {}) => ({ [T]: forge({ jobs, ...over }) });
/** What was read just now. */
const fresh = { whole: { began: NOW - 100, ended: NOW } };
const other = (over: Partial<OtherRow> = {}): OtherRow => ({
  ...row(9, { name: `ft-${hex(9).replace("abc123", "def456")}` }),
  prefix: "ft",
  since: NOW - SECOND,
  ...over,
});

describe("a job for which other hosts come first", () => {
  it("is served at once by the first host, and by nobody else", () => {
    expect(shown(planned({ fleet: inPlace(0), forges: view([seen(0)]) }).steps)).toContain("create a");
    const { steps, wakeAt, readAgain, reasons: why } = planned({ fleet: inPlace(2), forges: view([seen(SECOND)]) });
    expect([shown(steps), wakeAt, readAgain]).toEqual([[], NOW + 9 * SECOND, {}]);
    expect(why[0]).toMatchObject({
      code: "other-host-first",
      detail: "other hosts come first; this host makes a runner for it in 9 s if need be",
    });
  });

  it("is looked for again before this host takes its turn", () => {
    const { steps, readAgain, reasons: why } = planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND)]) });
    expect([shown(steps), readAgain]).toEqual([[], { [T]: NOW - SECOND }]);
    expect(why[0]?.code).toBe("other-host-first");
  });

  it("is served by this host when it still waits then", () => {
    const found = planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND)], fresh) });
    expect(shown(found.steps)).toContain("create a");
    expect(found.readAgain).toEqual({});
  });

  it("is not served from what was read before its turn, nor from what was read long ago", () => {
    for (const whole of [
      { began: NOW - 2 * SECOND, ended: NOW },
      { began: NOW - SECOND, ended: NOW - 3 * SECOND },
    ]) {
      const found = planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND)], { whole }) });
      expect([shown(found.steps), Object.keys(found.readAgain)]).toEqual([[], [T]]);
    }
  });

  it("is looked for again by the first host, too, once others have had a turn", () => {
    const late = [seen(6 * SECOND)];
    expect(planned({ fleet: inPlace(0), forges: view(late) })).toMatchObject({
      steps: [],
      readAgain: { [T]: NOW - 6_000 },
    });
    expect(shown(planned({ fleet: inPlace(0), forges: view(late, fresh) }).steps)).toContain("create a");
  });

  it("is left to another host's runner that is on its way, for a minute", () => {
    const found = planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND)], { ...fresh, others: [other()] }) });
    expect([shown(found.steps), found.wakeAt]).toEqual([[], NOW + 59 * SECOND]);
    expect(found.reasons[0]?.detail).toBe(
      `runner ${other().name} of another host is on its way; this host waits for it 59 s at most`,
    );
    const stuck = [other({ since: NOW - MINUTE })];
    expect(
      reasons(planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND)], { ...fresh, others: stuck }) })),
    ).toEqual({
      1: "runner-starting",
    });
  });

  it.each<[what: string, others: OtherRow[], jobs: Job[]]>([
    ["works already, as the forge says", [other({ busy: true })], []],
    ["works already, as the queue says", [other()], [job(8, { status: "running", runnerRow: 9 })]],
    ["is of another kind", [other({ prefix: "big" })], []],
    ["is bound to another job", [other({ handle: "other" })], []],
    ["is there for a job whose turn here comes later", [other()], [job(2)]],
  ])("is not left to a runner that %s", (_, others, jobs) => {
    const found = planned({ fleet: inPlace(2), forges: view([seen(11 * SECOND), ...jobs], { ...fresh, others }) });
    expect(reasons(found)).toMatchObject({ 1: "runner-starting" });
  });

  it("is left to a runner that is bound to it, busy or not", () => {
    const bound = seen(11 * SECOND, { handle: "h-1" });
    const others = [other({ handle: "h-1", busy: true })];
    expect(reasons(planned({ fleet: inPlace(2), forges: view([bound], { ...fresh, others }) }))).toEqual({
      1: "other-host-first",
    });
  });

  it("is no business of a host that has no place for it: it does not even look", () => {
    const full = [poolView({ maxRunners: 1 })];
    const runners = [booting(3, { handle: "elsewhere" })];
    const found = planned({ fleet: inPlace(2), pools: full, runners, forges: view([seen(11 * SECOND)]) });
    expect([found.readAgain, reasons(found)]).toEqual([{}, { 1: "pool-at-max" }]);
  });

  it("takes a runner that the forge knows already, but no warm one before its turn", () => {
    const jobs = [seen(SECOND)];
    expect(reasons(planned({ fleet: inPlace(2), runners: [ready(1)], forges: view(jobs) }))).toEqual({
      1: "runner-ready",
    });
    expect(reasons(planned({ fleet: inPlace(2), runners: [booting(1)], forges: view(jobs) }))).toEqual({
      1: "runner-starting",
    });
    const early = planned({ fleet: inPlace(2), runners: [warm(1)], forges: view(jobs) });
    expect([shown(early.steps), reasons(early)]).toEqual([[], { 1: "other-host-first" }]);
    const due = planned({ fleet: inPlace(2), runners: [warm(1)], forges: view([seen(11 * SECOND)], fresh) });
    expect(shown(due.steps)).toContain("register 1");
  });

  it("is not waited for where only webhooks tell of jobs and nothing can be read again", () => {
    const jobs = [seen(11 * SECOND)];
    const found = planned({ fleet: inPlace(2), forges: view(jobs, { listsQueue: false }) });
    expect(shown(found.steps)).toContain("create a");
  });

  it("never gets a second runner of this host for its handle", () => {
    const bound = seen(11 * SECOND, { handle: "h-1" });
    const runners = [booting(1, { handle: "h-1", jobKey: bound.key })];
    const found = planned({ fleet: inPlace(2), runners, forges: view([bound], { ...fresh, bindsJobs: true }) });
    expect(shown(found.steps).filter((step) => step.startsWith("create"))).toEqual([]);
  });

  it("comes after those for which this host comes first, when there is room for one", () => {
    const own = JOBS.slice(1).find((id) => placeOf(id, inPlace(2)) === 0) ?? 0;
    const jobs = [seen(4 * SECOND), job(own, { since: NOW, at: seen(0).at })];
    const found = planned({ fleet: inPlace(2), pools: [poolView({ maxRunners: 1 })], forges: view(jobs, fresh) });
    expect(found.reasons.find((reason) => reason.job.id === own)?.code).toBe("runner-starting");
  });
});

describe("a runner whose job went to another host's", () => {
  const lost = (over: Partial<Runner> = {}): Runner => ready(1, { jobKey: job(1).key, ...over });
  const suspected = { suspects: { [`${lost().id} job`]: 4 } };
  const memory = { ...planned().memory, ...suspected };

  it("is removed when the queue lacks its job at two reads, by asking first", () => {
    const first = planned({ fleet: inPlace(0), runners: [lost()] });
    expect([shown(first.steps), first.memory.suspects]).toEqual([[], { [`${lost().id} job`]: 5 }]);
    expect(shown(planned({ fleet: inPlace(0), runners: [lost()], memory }).steps)).toEqual(["drain 1 job-gone"]);
  });

  it("is given another job instead", () => {
    const found = planned({ fleet: inPlace(2), runners: [lost()], memory, jobs: [job(2)] });
    expect([shown(found.steps), reasons(found)]).toEqual([[], { 2: "runner-ready" }]);
  });

  it.each<[string, Parameters<typeof planned>[0]]>([
    ["a host that is alone keeps it for its idle age", { fleet: ALONE, runners: [lost()] }],
    ["it stays as part of the minimum", { fleet: inPlace(0), runners: [lost()], pools: [poolView({ minRunners: 1 })] }],
    ["it stays while its job waits", { fleet: inPlace(0), runners: [lost()], jobs: [job(1)] }],
    ["it stays while it works", { fleet: inPlace(0), runners: [after(lost(), [{ kind: "assigned", job: {} }])] }],
    [
      "it stays while the forge is in trouble",
      { fleet: inPlace(0), runners: [lost()], forges: view([], { health: "frozen" }) },
    ],
  ])("%s", (_, given) => {
    expect(shown(planned({ memory, ...given }).steps)).toEqual([]);
  });
});
