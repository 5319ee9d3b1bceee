import { describe, expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import { busy, creations, type DemandRow, input, job, poolView, reasons } from "./build.ts";

const HOST = { memoryMib: 100_000, vcpus: 100 };

describe("what the host has", () => {
  it.each<DemandRow>([
    {
      what: "the host's memory cuts",
      given: { host: { memoryMib: 1_100, vcpus: 100 }, jobs: [job(1), job(2), job(3)] },
      creates: { a: 2 },
      waits: { 1: "runner-starting", 2: "runner-starting", 3: "host-full" },
    },
    {
      what: "the host's CPUs cut",
      given: { host: { memoryMib: 100_000, vcpus: 2 }, runners: [busy(1)], jobs: [job(1), job(2)] },
      creates: { a: 1 },
      waits: { 1: "runner-starting", 2: "host-full" },
    },
    {
      what: "the host's disk cuts: what live runners may still write is not free",
      given: {
        pools: [poolView({ diskMib: 1_000 })],
        host: { ...HOST, disk: { mib: 2_500, detail: "" } },
        runners: [busy(1, { diskMib: 1_000 })],
        jobs: [job(1), job(2)],
      },
      creates: { a: 1 },
      waits: { 1: "runner-starting", 2: "host-full" },
    },
    {
      what: "a disk with little room is no matter for a pool without disks",
      given: { host: { ...HOST, disk: { mib: 0, detail: "" } }, jobs: [job(1)] },
      creates: { a: 1 },
    },
    {
      what: "a full disk stops every pool, since records and logs are written too",
      given: { host: { ...HOST, disk: { mib: -1, detail: "" } }, jobs: [job(1)] },
      creates: {},
      waits: { 1: "host-full" },
    },
    {
      what: "the addresses of the guests' network cut, for drivers that use it",
      given: {
        pools: [poolView({ driver: "qemu" }), poolView({ name: "b", order: 1, labels: ["arm"] })],
        host: { ...HOST, addresses: 2 },
        runners: [busy(1, { driver: "qemu" })],
        jobs: [job(1), job(2), job(3, { labels: ["arm"] })],
      },
      creates: { a: 1, b: 1 },
      waits: { 1: "runner-starting", 2: "host-full", 3: "runner-starting" },
    },
    {
      what: "the host's memory is shared by all pools, and jobs come before spare runners",
      given: {
        pools: [poolView({ minIdle: 5 }), poolView({ name: "b", order: 1, labels: ["arm"], memoryMib: 1_024 })],
        host: { memoryMib: 1_536, vcpus: 100 },
        jobs: [job(1, { labels: ["arm"] })],
      },
      creates: { a: 1, b: 1 },
    },
  ])("$what", ({ given, creates, waits }) => {
    const output = plan(input(given));
    expect(creations(output)).toEqual(creates);
    if (waits !== undefined) expect(reasons(output)).toEqual(waits);
  });
});
