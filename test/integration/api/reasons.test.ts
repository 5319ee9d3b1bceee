import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JobOrigin } from "../../../src/base/trust.ts";
import { jobs } from "../../../src/cli/jobs.ts";
import { plan } from "../../../src/core/plan.ts";
import { type PlanInput, WAIT_CODES, type WaitCode } from "../../../src/core/plan-types.ts";
import type { Job } from "../../../src/core/types.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { standIn } from "../../support/stand-in-orchestrator.ts";
import { booting, busy, forge, input, job, MINUTE, NOW, poolView, ready, SECOND, T } from "../../unit/core/build.ts";
import { depsOf, json, serveApi } from "./world.ts";

interface Case {
  code: WaitCode;
  given: Partial<PlanInput> & { jobs?: Job[] };
  /** What people are told. */
  says: string;
}

const waiting = job(1, { name: "build", repository: "acme/site", at: Date.now() - 90_000 });
const backoff = { failures: 3, since: NOW, until: NOW + 20 * SECOND, error: "boot: the kernel is missing" };

const PUSH: JobOrigin = { event: "push", ref: "refs/heads/main", fork: false, defaultBranch: "main" };
const trusting = (repositories = ["acme/site"]) =>
  poolView({ trust: { repositories, events: ["push"], allowForks: false } });

/** One for every reason. */
const CASES: Case[] = [
  {
    code: "runner-ready",
    given: { runners: [ready(1)] },
    says: `runner ${ready(1).id} is ready to take it`,
  },
  { code: "runner-starting", given: { runners: [booting(1)] }, says: `runner ${booting(1).id} boots` },
  {
    code: "other-host-first",
    given: { fleet: { self: "not in the list", hosts: ["one", "two"] }, jobs: [{ ...waiting, since: NOW }] },
    says: "other hosts come first; this host makes a runner for it in 10 s if need be",
  },
  {
    code: "no-pool-matches",
    given: { jobs: [{ ...waiting, labels: ["linux", "gpu"] }] },
    says: "no pool offers the label gpu",
  },
  {
    code: "untrusted-repository",
    given: { pools: [trusting(["acme/other"])] },
    says: "pool a does not trust it: repository acme/site is not one of those that are trusted",
  },
  {
    code: "untrusted-event",
    given: { pools: [trusting()], jobs: [{ ...waiting, origin: { ...PUSH, event: "release" } }] },
    says: "pool a does not trust it: event release is not one of push",
  },
  {
    code: "untrusted-branch",
    given: { pools: [trusting()], jobs: [{ ...waiting, origin: { ...PUSH, ref: "refs/heads/topic" } }] },
    says: "pool a does not trust it: branch topic is not the default branch, main",
  },
  {
    code: "untrusted-fork",
    given: { pools: [trusting()], jobs: [{ ...waiting, origin: { ...PUSH, fork: true } }] },
    says: "pool a does not trust it: it comes from a fork, which anybody can make",
  },
  {
    code: "origin-unknown",
    given: { pools: [trusting()] },
    says: "pool a does not trust it: what started it is not known",
  },
  {
    code: "pool-at-max",
    given: { pools: [poolView({ maxRunners: 1 })], runners: [busy(1)] },
    says: "pool a has its maximum of 1 runners",
  },
  {
    code: "host-full",
    given: { host: { memoryMib: 100, vcpus: 9 } },
    says: "the host has no room for another runner of pool a, which needs 512 MiB and 1 CPUs",
  },
  {
    code: "backing-off",
    given: { memory: { ...input().memory, pools: { a: backoff } } },
    says: "pool a waits 20 s more after 3 failures: boot: the kernel is missing",
  },
  { code: "paused", given: { pools: [poolView({}, { paused: true })] }, says: "pool a is paused" },
  {
    code: "pool-unusable",
    given: { pools: [poolView({}, { usable: false, detail: "there is no image" })] },
    says: "pool a cannot be used: there is no image",
  },
  {
    code: "unservable",
    given: {
      memory: {
        ...input().memory,
        unservable: { [waiting.key]: { strikes: [], until: NOW + 7 * MINUTE, rounds: 1 } },
      },
    },
    says: "ready runners left it alone, so the forge does not hand it out; tried again in 7 min",
  },
  {
    code: "blocked",
    given: { jobs: [{ ...waiting, status: "blocked" }] },
    says: "the forge holds it back: it waits for other jobs, a concurrency group or an approval",
  },
  {
    code: "forge-frozen",
    given: { forges: { [T]: forge({ jobs: [waiting], health: "frozen", reason: "503 from a proxy" }) } },
    says: "the forge cannot be relied on at the moment: 503 from a proxy",
  },
  { code: "draining", given: { mode: "drain" }, says: "the service is shutting down and takes no new jobs" },
];

describe("why a job waits", () => {
  it.each(CASES)("$code: by API, by 'fireteact jobs', and by a metric", async ({ code, given, says }) => {
    using directory = temporaryDirectory();
    const { reasons } = plan(input({ jobs: [waiting], ...given }));
    const orchestrator = standIn({ reasons: () => reasons });
    const metrics = () => createMetrics(orchestrator).scrape();
    await using api = await serveApi(directory.path, depsOf(orchestrator, { metrics }));

    const answer = json(await api.socket("GET", "/api/v1/jobs"));
    expect(answer).toMatchObject({ jobs: [{ code, detail: says, job: { key: waiting.key, name: "build" } }] });

    const options = { server: join(directory.path, "api.sock") };
    const context = { args: [], options, json: false, progress: () => undefined };
    const text = jobs.render(await jobs.run(context), context);
    const labels = code === "no-pool-matches" ? "linux, gpu" : "linux";
    expect(text.replaceAll(/\s+/g, " ")).toMatch(
      new RegExp(`^build of acme/site, runs-on ${labels}, waits (89|9\\d).* ${RegExp.escape(says)}$`),
    );

    const { body } = await api.metrics("GET", "/metrics");
    const told = body.split("\n").filter((line) => line.startsWith("fireteact_jobs_waiting{"));
    expect(told.toSorted()).toEqual(
      WAIT_CODES.map((each) => `fireteact_jobs_waiting{reason="${each}"} ${each === code ? 1 : 0}`).toSorted(),
    );
  });

  it("is shown for every reason that there is", () => {
    expect(CASES.map(({ code }) => code)).toEqual([...WAIT_CODES]);
  });
});
