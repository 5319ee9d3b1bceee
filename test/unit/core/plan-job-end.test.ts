import { describe, expect, it } from "vitest";
import { TELL_TRIES } from "../../../src/core/job-end.ts";
import type { PlanInput } from "../../../src/core/plan-types.ts";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import type { EndReason, Runner } from "../../../src/core/types.ts";
import {
  after,
  busy,
  forge,
  fresh,
  input,
  job,
  NOW,
  type PlanRow,
  planned,
  ready,
  row,
  running,
  steps,
  T,
} from "./build.ts";

const exit = { code: null, signal: "SIGKILL", at: 0 };
const exited: RunnerEvent = { kind: "sandbox-exited", exit };
const gone: RunnerEvent = { kind: "sandbox-gone" };
const ended = (reason: EndReason): RunnerEvent => ({ kind: "ending", reason, detail: "why" });
const lost = (reason: EndReason, ...events: RunnerEvent[]): Runner => after(busy(1), [ended(reason), ...events]);
const unnamed = (): Runner =>
  after(ready(1), [{ kind: "assigned", job: { name: "something" } }, ended("sandbox-exited"), exited, gone]);
const frozen = { [T]: forge({ health: "frozen" }) };
const failures = (count: number) => ({
  ...input().memory,
  retries: {
    [`${fresh(1).id}:forge:fail-job`]: { failures: count, since: NOW - 1, until: NOW, error: "the forge says no" },
  },
});

describe("a job whose runner ended under it", () => {
  it.each<PlanRow>([
    {
      what: "is told to the forge when the sandbox has ended, before the row goes",
      given: { runners: [lost("sandbox-exited", exited)] },
      expected: ["destroy 1", "fail-job 1"],
    },
    {
      what: "is told so after a limit too, when the sandbox is gone",
      given: { runners: [lost("job-timeout", gone)] },
      expected: ["fail-job 1"],
    },
    { what: "or after a forced stop", given: { runners: [lost("forced", gone)] }, expected: ["fail-job 1"] },
    { what: "or at a shutdown", given: { runners: [lost("shutdown", gone)] }, expected: ["fail-job 1"] },
    { what: "or a boot that never ended", given: { runners: [lost("boot-failed", gone)] }, expected: ["fail-job 1"] },
    {
      what: "is left to its engine while the sandbox lives",
      given: { runners: [lost("job-timeout")] },
      expected: ["destroy 1"],
    },
    {
      what: "is told to nobody when the user cancelled it",
      given: { runners: [lost("cancelled-by-forge", gone)] },
      expected: ["deregister 1"],
    },
    {
      what: "is told to nobody when it ended unheard",
      given: { runners: [lost("finished", gone)] },
      expected: ["deregister 1"],
    },
    {
      what: "is told to nobody when its engine ended it",
      given: { runners: [after(busy(1), [{ kind: "job-finished" }, ended("forced"), gone])] },
      expected: ["deregister 1"],
    },
    {
      what: "waits for a forge in trouble, and holds nothing of the host meanwhile",
      given: { runners: [lost("sandbox-exited", exited)], forges: frozen },
      expected: ["destroy 1"],
    },
    {
      what: "that was told: the row goes",
      given: { runners: [lost("sandbox-exited", gone, { kind: "job-settled", outcome: { state: "failed" } })] },
      expected: ["deregister 1"],
    },
    {
      what: "whose number is not known is left to the forge's timer",
      given: { runners: [unnamed()] },
      expected: ["leave-job 1"],
    },
    {
      what: "which only the forge knows of is left to its timer",
      given: {
        runners: [after(ready(1), [ended("sandbox-exited"), gone])],
        forges: { [T]: forge({ jobs: [running(1, 1)], rows: [row(1)] }) },
      },
      expected: ["leave-job 1"],
    },
    {
      what: "of a forge that the configuration names no more is left too",
      given: { runners: [lost("sandbox-exited", gone)], forges: {} },
      expected: ["leave-job 1"],
    },
    {
      what: "whose runner's row was deleted before it was known is left too",
      given: { runners: [lost("ready-timeout", gone, { kind: "row-gone" })] },
      expected: ["leave-job 1"],
    },
    {
      what: "is tried again as long as that may help",
      given: { runners: [lost("sandbox-exited", gone)], memory: failures(TELL_TRIES - 1) },
      expected: ["fail-job 1"],
    },
    {
      what: "is left in the end",
      given: { runners: [lost("sandbox-exited", gone)], memory: failures(TELL_TRIES) },
      expected: ["leave-job 1"],
    },
    {
      what: "that a guest without a registration invented is nobody's business",
      given: {
        runners: [after(fresh(1), [{ kind: "assigned", job: { taskId: 7 } }, ended("sandbox-exited"), gone])],
      },
      expected: ["close 1"],
    },
    {
      what: "does not hold the record longer than its row",
      given: {
        runners: [lost("forced", gone, { kind: "job-settled", outcome: { state: "failed" } }, { kind: "row-gone" })],
      },
      expected: ["close 1"],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });

  it("is left with the cause, for the record", () => {
    const cause = (over: Partial<PlanInput>) => planned(over).steps[0];
    expect(cause({ runners: [unnamed()] })).toMatchObject({ detail: "its number in the forge is not known" });
    expect(cause({ runners: [lost("forced", gone)], memory: failures(9) })).toMatchObject({
      detail: "the forge says no",
    });
  });

  it("is settled once", () => {
    const told = after(busy(1), [{ kind: "job-settled", outcome: { state: "failed" } }]);
    expect(after(told, [{ kind: "job-settled", outcome: { state: "left", detail: "late" } }])).toBe(told);
  });
});

describe("a busy runner whose row is gone", () => {
  const memory = (read: number) => ({ ...input().memory, suspects: { [`${fresh(1).id} row`]: read } });
  const without = (jobs: ReturnType<typeof running>[], over = {}) => ({
    [T]: forge({ rows: [], rowsRead: 7, jobs, ...over }),
  });

  it.each<PlanRow>([
    {
      what: "at one read goes on",
      given: { runners: [busy(1)], forges: without([]), memory: memory(6) },
      expected: [],
    },
    {
      what: "at two reads, and whose job runs no more, was cancelled",
      given: { runners: [busy(1)], forges: without([]), memory: memory(5) },
      expected: ["end 1 cancelled-by-forge"],
    },
    {
      what: "goes on while its job runs",
      given: { runners: [busy(1)], forges: without([running(1, 1)]), memory: memory(5) },
      expected: [],
    },
    {
      what: "goes on while a job runs that may be its own, where the forge does not tell whose it is",
      given: { runners: [busy(1)], forges: without([running(1, undefined)]), memory: memory(5) },
      expected: [],
    },
    {
      what: "is not kept by a job that runs on another row",
      given: { runners: [busy(1)], forges: without([running(1, 2)]), memory: memory(5) },
      expected: ["end 1 cancelled-by-forge"],
    },
    {
      what: "is not kept by a job that needs what it does not offer",
      given: { runners: [busy(1)], forges: without([running(1, undefined, { labels: ["gpu"] })]), memory: memory(5) },
      expected: ["end 1 cancelled-by-forge"],
    },
    {
      what: "of a forge in trouble goes on",
      given: { runners: [busy(1)], forges: without([], { health: "frozen" }), memory: memory(5) },
      expected: [],
    },
    {
      what: "since its job ended normally, and its engine said so, ends by itself",
      given: {
        runners: [after(busy(1), [{ kind: "job-finished", result: "success" }])],
        forges: without([]),
        memory: memory(5),
      },
      expected: [],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps({ ...given, pools: input().pools })).toEqual(expected);
  });
});

describe("the rows of a forge are read sooner", () => {
  const seen = (jobs: ReturnType<typeof running>[], over = {}) => ({ [T]: forge({ rows: [row(1)], jobs, ...over }) });

  it.each([
    { what: "when the job of a busy runner left the queue", given: { forges: seen([]) }, wanted: [T] },
    {
      what: "while a row that was there is missing",
      given: { forges: seen([running(1, 1)], { rows: [] }) },
      wanted: [T],
    },
    { what: "not while its job runs", given: { forges: seen([running(1, 1)]) }, wanted: [] },
    { what: "not while a job waits that it may have just taken", given: { forges: seen([job(1)]) }, wanted: [] },
    { what: "not where the queue cannot be read", given: { forges: seen([], { listsQueue: false }) }, wanted: [] },
  ])("$what", ({ given, wanted }) => {
    expect(planned({ ...given, pools: input().pools, runners: [busy(1)] }).rowsWanted).toEqual(wanted);
  });
});
