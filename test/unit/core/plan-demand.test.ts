import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import {
  booting,
  busy,
  creations,
  type DemandRow,
  ending,
  forge,
  hex,
  input,
  job,
  MINUTE,
  NOW,
  pool,
  poolView,
  ready,
  reasons,
  running,
  T,
  warm,
} from "./build.ts";

const many = <X>(count: number, make: (id: number) => X, from = 1): X[] =>
  Array.from({ length: count }, (_, index) => make(from + index));
const gone = (id: number) => ({ ...ending(busy(id)), sandbox: { phase: "gone" } as const });
const ORG = "https://forge.test#org:acme";

describe("how many runners are made", () => {
  it.each<DemandRow>([
    { what: "nothing waits: none", given: {}, creates: {} },
    {
      what: "one job, nothing there: one",
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
      what: "5 busy and 3 queued at a minimum of 1: still three more",
      given: {
        pools: [poolView({ minRunners: 1 })],
        runners: many(5, (id) => busy(id)),
        jobs: many(3, (id) => job(id)),
      },
      creates: { a: 3 },
    },
    {
      what: "5 busy, 3 queued, 2 starting: one more",
      given: { runners: [...many(5, (id) => busy(id)), booting(6), booting(7)], jobs: many(3, (id) => job(id)) },
      creates: { a: 1 },
      waits: { 1: "runner-starting", 2: "runner-starting", 3: "runner-starting" },
    },
    {
      what: "jobs that wait have starting runners: none",
      given: { runners: many(3, (id) => booting(id)), jobs: many(3, (id) => job(id)) },
      creates: {},
    },
    {
      what: "a ready runner counts for a job",
      given: { runners: [ready(1)], jobs: [job(1), job(2)] },
      creates: { a: 1 },
      waits: { 1: "runner-ready", 2: "runner-starting" },
    },
    {
      what: "a warm runner counts for a job",
      given: { runners: [warm(1)], jobs: [job(1)] },
      creates: {},
      waits: { 1: "runner-starting" },
    },
    {
      what: "a runner that winds down does not count for a job",
      given: { runners: [ending(ready(1))], jobs: [job(1)] },
      creates: { a: 1 },
    },
    {
      what: "running jobs of other people's runners are no demand",
      given: { jobs: [running(1, 900), running(2, 901), running(3, undefined)] },
      creates: {},
      waits: {},
    },
    {
      what: "blocked jobs are no demand",
      given: { jobs: [job(1, { status: "blocked" })] },
      creates: {},
      waits: { 1: "blocked" },
    },
    {
      what: "at the maximum: as many as fit",
      given: {
        pools: [poolView({ maxRunners: 7 })],
        runners: many(5, (id) => busy(id)),
        jobs: many(3, (id) => job(id)),
      },
      creates: { a: 2 },
      waits: { 1: "runner-starting", 2: "runner-starting", 3: "pool-at-max" },
    },
    {
      what: "runners that wind down hold their place until their sandbox is gone",
      given: { pools: [poolView({ maxRunners: 2 })], runners: [ending(ready(1)), ending(ready(2))], jobs: [job(1)] },
      creates: {},
      waits: { 1: "pool-at-max" },
    },
    {
      what: "a runner whose sandbox is gone holds no place, though its row is still to be deleted",
      given: { pools: [poolView({ maxRunners: 1 })], runners: [gone(1)], jobs: [job(1)] },
      creates: { a: 1 },
    },
    {
      what: "a sandbox whose record was lost holds its place in the pool",
      given: {
        pools: [poolView({ maxRunners: 2 })],
        strays: { sandboxes: [{ driver: "fake", hex: hex(9), pool: "a", state: "running" }], read: 1, rows: [] },
        jobs: many(2, (id) => job(id)),
      },
      creates: { a: 1 },
    },
    {
      what: "a maximum of 0 makes none",
      given: { pools: [poolView({ maxRunners: 0 })], jobs: [job(1)] },
      creates: {},
      waits: { 1: "pool-at-max" },
    },
    { what: "minRunners 0 makes none without jobs", given: { pools: [poolView({ minRunners: 0 })] }, creates: {} },
    { what: "minRunners 2: two", given: { pools: [poolView({ minRunners: 2 })] }, creates: { a: 2 } },
    {
      what: "minRunners counts busy and starting runners",
      given: { pools: [poolView({ minRunners: 4 })], runners: [busy(1), booting(2)], jobs: [] },
      creates: { a: 2 },
    },
    {
      what: "minRunners counts the runners made for jobs",
      given: { pools: [poolView({ minRunners: 1 })], jobs: [job(1)] },
      creates: { a: 1 },
    },
    { what: "minIdle 2: two", given: { pools: [poolView({ minIdle: 2 })] }, creates: { a: 2 } },
    {
      what: "minIdle counts only runners that no job waits for",
      given: { pools: [poolView({ minIdle: 2 })], runners: [warm(1), warm(2)], jobs: [job(1)] },
      creates: { a: 1 },
    },
    {
      what: "minIdle comes on top of busy runners",
      given: { pools: [poolView({ minIdle: 1 })], runners: many(3, (id) => busy(id)) },
      creates: { a: 1 },
    },
    {
      what: "minIdle comes on top of the jobs that wait",
      given: { pools: [poolView({ minIdle: 1 })], jobs: [job(1), job(2)] },
      creates: { a: 3 },
    },
    {
      what: "minimum and idle are not added up",
      given: { pools: [poolView({ minIdle: 2, minRunners: 3 })] },
      creates: { a: 3 },
    },
    {
      what: "the minimum stays below the maximum",
      given: { pools: [poolView({ minIdle: 9, minRunners: 9, maxRunners: 4 })] },
      creates: { a: 4 },
    },
    {
      what: "a job that a runner has just taken is no demand, although the queue still shows it",
      given: {
        runners: [busy(1, { jobKey: job(1).key })],
        jobs: [job(1)],
      },
      creates: {},
      waits: { 1: "runner-ready" },
    },
    {
      what: "two reads later a job that still waits is demand again",
      given: {
        runners: [busy(1, { jobKey: job(1).key })],
        jobs: [job(1)],
        memory: { ...input().memory, picks: { [busy(1).id]: { job: job(1).key, target: T, read: 3 } } },
      },
      creates: { a: 1 },
    },
    {
      what: "a job seen through two scopes of one forge is one job",
      given: {
        pools: [poolView(), poolView({ name: "b", order: 1, target: ORG })],
        forges: { [T]: forge({ jobs: [job(1)] }), [ORG]: forge({ jobs: [job(1, { target: ORG })] }) },
      },
      creates: { a: 1 },
      waits: { 1: "runner-starting" },
    },
    {
      what: "a job that runs in one view and waits in another, older one is running",
      given: {
        pools: [poolView(), poolView({ name: "b", order: 1, target: ORG })],
        forges: { [T]: forge({ jobs: [job(1)] }), [ORG]: forge({ jobs: [running(1, 9, { target: ORG })] }) },
      },
      creates: {},
      waits: {},
    },
    {
      what: "a job that runs again waits once, though an older view shows the attempt before as waiting",
      given: {
        pools: [poolView(), poolView({ name: "b", order: 1, target: ORG })],
        forges: {
          [T]: forge({ jobs: [job(1, { attempt: 2, key: `${T}/1/2` })] }),
          [ORG]: forge({ jobs: [job(1, { target: ORG })] }),
        },
      },
      creates: { a: 1 },
    },
    {
      what: "a job that runs again waits, though an older view shows the attempt before as running",
      given: {
        pools: [poolView(), poolView({ name: "b", order: 1, target: ORG })],
        forges: {
          [T]: forge({ jobs: [job(1, { attempt: 2, key: `${T}/1/2` })] }),
          [ORG]: forge({ jobs: [running(1, 9, { target: ORG })] }),
        },
      },
      creates: { a: 1 },
    },
    { what: "drain mode makes none", given: { mode: "drain", jobs: [job(1)] }, creates: {}, waits: { 1: "draining" } },
    {
      what: "detach mode makes none",
      given: { mode: "detach", jobs: [job(1)] },
      creates: {},
      waits: { 1: "draining" },
    },
    {
      what: "a job bound to one of our runners is not given a second one while that is being removed",
      given: {
        forges: { [T]: forge({ jobs: [job(1, { handle: "h1" })], bindsJobs: true }) },
        runners: [ending(ready(1, { handle: "h1" }))],
      },
      creates: {},
      waits: { 1: "runner-starting" },
    },
    {
      what: "a bound runner is no help for another job",
      given: {
        forges: { [T]: forge({ jobs: [job(1, { handle: "h1" }), job(2, { handle: "h2" })], bindsJobs: true }) },
        runners: [ready(1, { handle: "h1" })],
      },
      creates: { a: 1 },
      waits: { 1: "runner-ready", 2: "runner-starting" },
    },
    {
      what: "a runner whose own job is gone is no help for another one either",
      given: {
        forges: { [T]: forge({ jobs: [job(2, { handle: "h2" })], bindsJobs: true }) },
        runners: [ready(1, { handle: "h1" })],
      },
      creates: { a: 1 },
    },
    {
      what: "two hosts: each sees only its own runners, and both serve the job",
      given: { runners: [], jobs: [job(1)] },
      creates: { a: 1 },
    },
    {
      what: "two hosts: the job that the other one's runner took is no demand here",
      given: { runners: [ready(1)], jobs: [running(1, 777)] },
      creates: {},
      waits: {},
    },
  ])("$what", ({ given, creates, waits }) => {
    const output = plan(input(given));
    expect(creations(output)).toEqual(creates);
    if (waits !== undefined) expect(reasons(output)).toEqual(waits);
  });
});

describe("which pool makes the runner", () => {
  const wide = pool("wide", { order: 0, labels: ["linux", "gpu", "big"] });
  const narrow = pool("narrow", { order: 1, labels: ["linux"] });
  const both = [
    { ...poolView(), pool: wide },
    { ...poolView(), pool: narrow },
  ];
  const narrowAs = (view: Partial<ReturnType<typeof poolView>>) => [
    { ...poolView(), pool: wide },
    { ...poolView(), pool: narrow, ...view },
  ];
  const backoff = { failures: 2, since: NOW, until: NOW + MINUTE, error: "no kernel" };
  const backedOff = { ...input().memory, pools: { narrow: backoff } };

  it.each<DemandRow>([
    { what: "the most specific one", given: { pools: both, jobs: [job(1)] }, creates: { narrow: 1 } },
    {
      what: "of equally specific ones the first",
      given: { pools: [poolView({ name: "z", order: 0 }), poolView({ name: "b", order: 1 })], jobs: [job(1)] },
      creates: { z: 1 },
    },
    {
      what: "the first by order, not by place in the list",
      given: { pools: [poolView({ name: "z", order: 1 }), poolView({ name: "b", order: 0 })], jobs: [job(1)] },
      creates: { b: 1 },
    },
    {
      what: "the only one that offers all labels",
      given: { pools: both, jobs: [job(1, { labels: ["linux", "gpu"] })] },
      creates: { wide: 1 },
    },
    {
      what: "the next when the preferred one is paused",
      given: { pools: narrowAs({ paused: true }), jobs: [job(1)] },
      creates: { wide: 1 },
    },
    {
      what: "the next when the preferred one cannot be used",
      given: { pools: narrowAs({ usable: false, detail: "no image" }), jobs: [job(1)] },
      creates: { wide: 1 },
    },
    {
      what: "the next when the preferred one backs off",
      given: { pools: both, jobs: [job(1)], memory: backedOff },
      creates: { wide: 1 },
    },
    {
      what: "the next for the jobs that no longer fit into the preferred one",
      given: { pools: narrowAs({ pool: { ...narrow, maxRunners: 1 } }), jobs: [job(1), job(2)] },
      creates: { narrow: 1, wide: 1 },
    },
    {
      what: "none when all that fit are paused",
      given: { pools: [poolView({}, { paused: true })], jobs: [job(1)] },
      creates: {},
      waits: { 1: "paused" },
    },
    {
      what: "none where the pool is at another scope",
      given: { pools: [poolView({ target: ORG })], jobs: [job(1)] },
      creates: {},
      waits: { 1: "no-pool-matches" },
    },
    {
      what: "none for a label that no pool has",
      given: { pools: both, jobs: [job(1, { labels: ["linux", "windows"] })] },
      creates: {},
      waits: { 1: "no-pool-matches" },
    },
    {
      what: "an avail runner of a less specific pool comes before a new one of the preferred pool",
      given: { pools: both, runners: [ready(1, { pool: "wide", labels: wide.labels })], jobs: [job(1)] },
      creates: {},
      waits: { 1: "runner-ready" },
    },
    {
      what: "a listening runner comes before one that starts, since the forge would give it the job anyway",
      given: {
        pools: both,
        runners: [booting(2, { pool: "narrow" }), ready(1, { pool: "wide", labels: wide.labels })],
        jobs: [job(1)],
      },
      creates: {},
      waits: { 1: "runner-ready" },
    },
    {
      what: "a job without labels goes to the first pool of microVMs, never to a native one",
      given: {
        pools: [poolView({ name: "host", driver: "native" }), poolView({ name: "vm", order: 1, labels: ["x", "y"] })],
        jobs: [job(1, { labels: [] })],
      },
      creates: { vm: 1 },
    },
    {
      what: "a job without labels waits where all pools are native",
      given: { pools: [poolView({ driver: "native" })], jobs: [job(1, { labels: [] })] },
      creates: {},
      waits: { 1: "no-pool-matches" },
    },
  ])("$what", ({ given, creates, waits }) => {
    const output = plan(input(given));
    expect(creations(output)).toEqual(creates);
    if (waits !== undefined) expect(reasons(output)).toEqual(waits);
  });
});
