import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { distrust, type JobOrigin, type TrustPolicy } from "../../../src/base/trust.ts";
import type { PlanInput } from "../../../src/core/plan-types.ts";
import type { Job, Runner } from "../../../src/core/types.ts";
import {
  booting,
  creations,
  forge,
  fresh,
  input,
  job,
  planned,
  poolView,
  ready,
  reasons,
  steps,
  T,
  warm,
} from "./build.ts";

const HOME = "https://forge.test#trusted";
const TRUST: TrustPolicy = { repositories: ["acme/site"], events: ["push"], allowForks: false };
const MAIN: JobOrigin = { event: "push", ref: "refs/heads/main", fork: false, defaultBranch: "main" };
const trusted = (id: number, over: Partial<Job> = {}): Job =>
  job(id, { target: HOME, repository: "acme/site", origin: MAIN, labels: ["native"], ...over });
const native = poolView({ name: "n", labels: ["native"], target: HOME, trust: TRUST, driver: "native" });
const given = (jobs: Job[], over: Partial<PlanInput> = {}) => ({
  pools: [native],
  forges: { [HOME]: forge({ jobs }), [T]: forge() },
  ...over,
});

interface Row {
  what: string;
  job: Partial<Job>;
  waits: string;
}

describe("a pool that trusts only some jobs", () => {
  it.each<Row>([
    { what: "a push to the default branch", job: {}, waits: "runner-starting" },
    { what: "another repository", job: { repository: "acme/other" }, waits: "untrusted-repository" },
    { what: "another event", job: { origin: { ...MAIN, event: "release" } }, waits: "untrusted-event" },
    { what: "another branch", job: { origin: { ...MAIN, ref: "refs/heads/x" } }, waits: "untrusted-branch" },
    { what: "a fork", job: { origin: { ...MAIN, fork: true } }, waits: "untrusted-fork" },
    { what: "no labels", job: { labels: [] }, waits: "no-pool-matches" },
    { what: "other labels", job: { labels: ["linux"] }, waits: "no-pool-matches" },
  ])("$what: $waits", ({ job: over, waits }) => {
    const output = planned(given([trusted(1, over)]));
    expect(reasons(output)).toEqual({ 1: waits });
    expect(creations(output)).toEqual(waits === "runner-starting" ? { n: 1 } : {});
  });

  it("does not trust what is not known", () => {
    const { origin: _origin, ...noOrigin } = trusted(1);
    const { repository: _repository, ...noRepository } = trusted(2);
    expect(reasons(planned(given([noOrigin, noRepository])))).toEqual({ 1: "origin-unknown", 2: "origin-unknown" });
  });

  it("says why in one sentence, and which pool", () => {
    const output = planned(given([trusted(1, { origin: { ...MAIN, ref: "refs/heads/x" } })]));
    expect(output.reasons[0]).toMatchObject({
      pool: "n",
      detail: "pool n does not trust it: branch x is not the default branch, main",
    });
  });

  it("registers for the job's repository, bound to it where the forge can", () => {
    const output = planned(given([trusted(1, { handle: "h-1" })]));
    const made = output.steps.flatMap((step) => (step.kind === "create" ? [step.runner] : []));
    expect(made).toMatchObject([{ repository: "acme/site", target: HOME, handle: "h-1", jobKey: `${HOME}/1/1` }]);
    expect(steps(given([trusted(1)]))).toEqual(["create n", "register new"]);
  });

  it("leaves an untrusted job to another pool that fits", () => {
    const microvm = poolView({ name: "m", labels: ["native", "more"], order: 1 });
    const jobs = [trusted(1, { origin: { ...MAIN, fork: true } })];
    const output = planned({
      pools: [native, microvm],
      forges: { [HOME]: forge({ jobs }), [T]: forge({ jobs: [job(1, { labels: ["native"] })] }) },
    });
    expect(creations(output)).toEqual({ m: 1 });
  });

  it("names the repository of a job that only other targets show", () => {
    const seen = (over: Partial<Job>, at = T) => {
      const jobs = [job(1, { labels: ["native"], target: at, ...over })];
      return reasons(planned(given([], { forges: { [HOME]: forge(), [at]: forge({ jobs }) } })));
    };
    expect(seen({ repository: "evil/site" })).toEqual({ 1: "untrusted-repository" });
    expect(seen({ repository: "acme/site" })).toEqual({ 1: "origin-unknown" });
    expect(seen({ labels: ["other"], repository: "evil/site" })).toEqual({ 1: "no-pool-matches" });
    expect(seen({ repository: "evil/site" }, "https://else.test#instance")).toEqual({ 1: "no-pool-matches" });
  });

  it("keeps no runners without a job, whatever the minimum", () => {
    const view = poolView({ name: "n", labels: ["native"], target: HOME, trust: TRUST, minRunners: 3, minIdle: 2 });
    expect(steps(given([], { pools: [view] }))).toEqual([]);
  });

  it("does not give a runner of one repository the job of another", () => {
    const trust = { ...TRUST, repositories: ["acme/*"] };
    const view = poolView({ name: "n", labels: ["native"], target: HOME, trust });
    const runner = ready(1, {
      pool: "n",
      target: HOME,
      labels: ["native"],
      repository: "acme/other",
      jobKey: `${HOME}/9/1`,
    });
    const output = planned(given([trusted(1)], { pools: [view], runners: [runner] }));
    expect(creations(output)).toEqual({ n: 1 });
    const same = { ...runner, repository: "ACME/site" };
    expect(creations(planned(given([trusted(1)], { pools: [view], runners: [same] })))).toEqual({});
  });

  it("does not register a runner whose job is trusted no more", () => {
    const runner = fresh(1, {
      pool: "n",
      target: HOME,
      labels: ["native"],
      repository: "acme/site",
      handle: "h",
      jobKey: `${HOME}/1/1`,
    });
    const strict = poolView({ name: "n", labels: ["native"], target: HOME, trust: { ...TRUST, events: ["schedule"] } });
    const jobs = [trusted(1, { handle: "h" })];
    expect(steps(given(jobs, { runners: [runner] }))).toContain("register 1");
    expect(steps(given(jobs, { pools: [strict], runners: [runner] }))).not.toContain("register 1");
    expect(steps(given(jobs, { pools: [], runners: [runner] }))).not.toContain("register 1");
    const open = poolView({ name: "n", labels: ["native"], target: HOME });
    expect(steps(given(jobs, { pools: [open], runners: [runner] }))).not.toContain("register 1");
  });
});

describe("whatever waits and whatever runs", () => {
  const repository = fc.constantFrom("acme/site", "acme/other", "evil/site");
  const origins = fc.record<JobOrigin>(
    {
      event: fc.constantFrom("push", "schedule", "pull_request", "pull_request_target"),
      ref: fc.constantFrom("refs/heads/main", "refs/heads/x", "refs/tags/main", "refs/pull/1/head"),
      base: fc.constantFrom("main", "x"),
      fork: fc.boolean(),
      defaultBranch: fc.constantFrom("main", "x"),
    },
    { requiredKeys: ["event"] },
  );
  const policies = fc.record<TrustPolicy>(
    {
      repositories: fc.subarray(["acme/site", "acme/*"]),
      events: fc.subarray(["push", "schedule", "pull_request", "pull_request_target"]),
      branches: fc.subarray(["main", "*", "refs/tags/*"]),
      allowForks: fc.boolean(),
    },
    { requiredKeys: ["repositories", "events", "allowForks"] },
  );
  const jobs = fc.array(
    fc.record({
      repository: fc.option(repository, { nil: undefined }),
      origin: fc.option(origins, { nil: undefined }),
      bound: fc.boolean(),
      labels: fc.constantFrom([], ["native"]),
    }),
    { maxLength: 6 },
  );
  const runners = fc.array(
    fc.record({
      state: fc.constantFrom(fresh, booting, warm, ready),
      repository,
      job: fc.integer({ min: 1, max: 6 }),
      bound: fc.boolean(),
    }),
    { maxLength: 5 },
  );

  it("registers for no job that its pool does not trust", () => {
    fc.assert(
      fc.property(policies, jobs, runners, (trust, wanted, there) => {
        const queue = wanted.map(({ repository: name, origin, bound, labels }, index) => {
          const { repository: _r, origin: _o, ...bare } = trusted(index + 1, { labels: [...labels] });
          const said = { ...(name !== undefined && { repository: name }), ...(origin !== undefined && { origin }) };
          return { ...bare, ...said, ...(bound && { handle: `h${index + 1}` }) };
        });
        const known = there.map(({ state, repository: name, job: id, bound }, index) =>
          state(index + 1, {
            pool: "n",
            target: HOME,
            labels: ["native"],
            repository: name,
            jobKey: `${HOME}/${id}/1`,
            ...(bound && { handle: `h${id}` }),
          }),
        );
        const view = poolView({ name: "n", labels: ["native"], target: HOME, trust });
        const output = planned(given(queue, { pools: [view], runners: known }));
        const records = new Map<string, Runner>(known.map((runner) => [runner.id, runner]));
        for (const step of output.steps) if (step.kind === "create") records.set(step.runner.id, step.runner);
        for (const step of output.steps) {
          if (step.kind !== "register") continue;
          const runner = records.get(step.runner);
          // One that a process before this one began is finished, or undone, by the step itself: see its last look.
          if (runner?.registration.phase === "pending") continue;
          const key = step.job?.key ?? runner?.jobKey;
          const subject = queue.find((one) => one.key === key);
          expect(subject).toBeDefined();
          expect(distrust(trust, subject ?? {})).toBeUndefined();
          expect(subject?.repository).toBe(runner?.repository);
          expect(subject?.labels).not.toEqual([]);
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe("without trust", () => {
  it("nothing changes: a pool takes every job of its target", () => {
    expect(creations(planned(input({ jobs: [job(1, { repository: "evil/site" })] })))).toEqual({ a: 1 });
  });
});
