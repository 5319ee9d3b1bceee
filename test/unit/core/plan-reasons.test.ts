import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import {
  after,
  booting,
  busy,
  ending,
  forge,
  fresh,
  type Given,
  hex,
  input,
  job,
  MINUTE,
  NOW,
  planned,
  poolView,
  ready,
  T,
  warm,
} from "./build.ts";

interface Row {
  what: string;
  given: Given;
  code: string;
  detail: string;
}

describe("why a job waits", () => {
  it.each<Row>([
    {
      what: "a ready runner",
      given: { runners: [ready(1)] },
      code: "runner-ready",
      detail: `runner ${ready(1).id} is ready to take it`,
    },
    {
      what: "a booting runner",
      given: { runners: [booting(1)] },
      code: "runner-starting",
      detail: `runner ${booting(1).id} boots`,
    },
    {
      what: "a runner whose sandbox is being made",
      given: { runners: [fresh(1, { jobKey: job(1).key })] },
      code: "runner-starting",
      detail: `runner ${fresh(1).id} is being made`,
    },
    {
      what: "a runner whose engine starts",
      given: { runners: [after(booting(1), [{ kind: "agent-up" }, { kind: "engine-starting" }])] },
      code: "runner-starting",
      detail: `runner ${booting(1).id} has booted and starts its engine`,
    },
    {
      what: "a warm runner",
      given: { runners: [warm(1)] },
      code: "runner-starting",
      detail: `warm runner ${warm(1).id} is being registered for it`,
    },
    { what: "a new runner", given: {}, code: "runner-starting", detail: "a runner is being made for it in pool a" },
    {
      what: "a runner that took it",
      given: { runners: [busy(1, { jobKey: job(1).key })] },
      code: "runner-ready",
      detail: `runner ${busy(1).id} has just taken it`,
    },
    {
      what: "no pool with the label",
      given: { jobs: [job(1, { labels: ["linux", "gpu"] })] },
      code: "no-pool-matches",
      detail: "no pool offers the label gpu",
    },
    {
      what: "no pool with the labels",
      given: { jobs: [job(1, { labels: ["arm", "gpu"] })] },
      code: "no-pool-matches",
      detail: "no pool offers the labels arm, gpu",
    },
    {
      what: "labels spread over pools",
      given: {
        pools: [poolView(), poolView({ name: "b", labels: ["gpu"] })],
        jobs: [job(1, { labels: ["linux", "gpu"] })],
      },
      code: "no-pool-matches",
      detail: "no single pool offers all of its labels: linux, gpu",
    },
    {
      what: "no label, only native pools",
      given: { pools: [poolView({ driver: "native" })], jobs: [job(1, { labels: [] })] },
      code: "no-pool-matches",
      detail: "it names no label, and no pool runs jobs in microVMs",
    },
    {
      what: "a full pool",
      given: { pools: [poolView({ maxRunners: 1 })], runners: [busy(1)] },
      code: "pool-at-max",
      detail: "pool a has its maximum of 1 runners",
    },
    {
      what: "several pools, none free",
      given: { pools: [poolView({}, { paused: true }), poolView({ name: "b", order: 1, maxRunners: 0 })] },
      code: "paused",
      detail: "pool a is paused, and no other pool that fits can take it now",
    },
    {
      what: "a pool that cannot be used",
      given: { pools: [poolView({}, { usable: false, detail: "the image is missing" })] },
      code: "pool-unusable",
      detail: "pool a cannot be used: the image is missing",
    },
    {
      what: "a full host",
      given: { host: { memoryMib: 100, vcpus: 9 } },
      code: "host-full",
      detail: "the host has no room for another runner of pool a, which needs 512 MiB and 1 CPUs",
    },
    {
      what: "a full disk",
      given: { host: { memoryMib: 9_999, vcpus: 9, disk: { mib: -1, detail: "3 MiB are free in /d" } } },
      code: "host-full",
      detail: "the host's disk has no room for another runner of pool a: 3 MiB are free in /d",
    },
    {
      what: "an exhausted network",
      given: { pools: [poolView({ driver: "qemu" })], host: { memoryMib: 9_999, vcpus: 9, addresses: 0 } },
      code: "host-full",
      detail: "all 0 addresses that the host has for guests are in use: network.subnet is too small",
    },
    {
      what: "an unservable job",
      given: {
        memory: {
          ...input().memory,
          unservable: { [job(1).key]: { strikes: [], until: NOW + 7 * MINUTE, rounds: 1 } },
        },
      },
      code: "unservable",
      detail: "ready runners left it alone, so the forge does not hand it out; tried again in 7 min",
    },
    {
      what: "a handle that is still taken",
      given: { runners: [ending(ready(1, { handle: "h" }))], jobs: [job(1, { handle: "h" })] },
      code: "runner-starting",
      detail: `waiting until its last runner ${ready(1).id} is removed`,
    },
    {
      what: "a blocked job",
      given: { jobs: [job(1, { status: "blocked" })] },
      code: "blocked",
      detail: "the forge holds it back: it waits for other jobs, a concurrency group or an approval",
    },
    {
      what: "a drain",
      given: { mode: "drain" },
      code: "draining",
      detail: "the service is shutting down and takes no new jobs",
    },
  ])("$what", ({ given, code, detail }) => {
    const { reasons } = plan(input({ jobs: [job(1)], ...given }));
    expect(reasons).toHaveLength(1);
    expect(reasons[0]).toMatchObject({ code, detail });
  });

  it("names the runner that is made for it", () => {
    expect(planned({ jobs: [job(1)] }).reasons[0]).toMatchObject({ pool: "a", runner: `a-${hex(0xf00)}` });
  });

  it("is said once for every job that waits, oldest first, and for none that runs", () => {
    const jobs = [
      job(3),
      job(1, { labels: ["gpu"] }),
      job(2, { queuedAt: 1 }),
      job(4, { status: "running" }),
      job(5, { status: "blocked" }),
    ];
    const { reasons } = plan(input({ jobs, runners: [fresh(1)], pools: [poolView({ maxRunners: 1 })] }));
    expect(reasons.map(({ job }) => job.id)).toEqual([2, 1, 3, 5]);
  });

  it("is the same for a job in two scopes: one reason", () => {
    const org = "https://forge.test#org:acme";
    const forges = { [T]: forge({ jobs: [job(1)] }), [org]: forge({ jobs: [job(1, { target: org })] }) };
    expect(plan(input({ forges })).reasons).toHaveLength(1);
  });
});
