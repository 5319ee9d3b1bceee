import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { HELLO, manualClock, rig, runnerAt, TestRunner } from "./support.ts";

const MINUTE = 60_000;
const push = { repository: "acme/site", yaml: HELLO };

describe("FetchTask", () => {
  it("looks for a job only when the scope's counter moved", async () => {
    const { forge } = await rig();
    await forge.addRepository("other/place");
    const runner = await runnerAt(forge, { scope: "acme/site", ephemeral: false });
    await runner.fetch();
    const before = runner.version;
    await forge.pushWorkflow({ ...push, repository: "other/place" });
    await runner.fetch();
    expect(runner.version).toBe(before);
    await forge.pushWorkflow(push);
    await forge.pushWorkflow(push);
    const newest = await runner.rpc.fetchTask({ tasksVersion: before + 2n });
    expect(newest.task).toBeUndefined();
    expect(newest.tasksVersion).toBe(before + 2n);
    expect(await runner.fetch()).toBeDefined();
  });

  it("keeps runners to their scope and labels, oldest job first", async () => {
    const { forge } = await rig();
    await forge.addRepository("other/place");
    const foreign = await forge.pushWorkflow({ ...push, repository: "other/place" });
    const big = await forge.pushWorkflow({ ...push, yaml: "jobs: { a: { runs-on: [ubuntu, big], steps: [] } }" });
    const none = await forge.pushWorkflow({ ...push, yaml: "jobs: { a: { steps: [] } }" });
    const plain = await runnerAt(forge, { scope: "acme" });
    expect(Number((await plain.fetch())?.context?.["run_id"])).toBe(none.id);
    const wide = await runnerAt(forge, { scope: "acme", labels: ["ubuntu", "big"] });
    expect(Number((await wide.fetch())?.context?.["run_id"])).toBe(big.id);
    const anywhere = await runnerAt(forge);
    expect(Number((await anywhere.fetch())?.context?.["run_id"])).toBe(foreign.id);
    const wrongCase = await runnerAt(forge, { labels: ["Ubuntu"] });
    await forge.pushWorkflow(push);
    expect(await wrongCase.fetch()).toBeUndefined();
  });

  it("gives an ephemeral runner one task, and removes it when it asks again after its end", async () => {
    const { forge } = await rig({ behaviours: { rowGoneAtCancel: false } });
    const run = await forge.pushWorkflow(push);
    await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    expect(await runner.fetch()).toBeDefined();
    expect(await runner.fetch()).toBeUndefined();
    forge.cancelRun(run.id);
    runner.version = 0n;
    await expect(runner.fetch()).rejects.toThrow("runner has been removed");
    await expect(runner.fetch()).rejects.toThrow("unregistered runner");
  });

  it("in old race mode the loser gets the newest counter, no task, and never looks again", async () => {
    const { forge } = await rig({ version: "1.25.1", behaviours: { oldRace: true, raceWindowMs: 400 } });
    const a = await runnerAt(forge);
    const b = await runnerAt(forge);
    await forge.pushWorkflow(push);
    await forge.pushWorkflow(push);
    const tasks = await Promise.all([a.fetch(), b.fetch()]);
    expect(tasks.filter((task) => task !== undefined)).toHaveLength(1);
    const loser = tasks[0] === undefined ? a : b;
    expect(await loser.fetch()).toBeUndefined();
    const fresh = await runnerAt(forge);
    expect(await fresh.fetch()).toBeDefined();
  });

  it("newer servers give the loser the next job", async () => {
    const { forge } = await rig({ version: "1.27.2", behaviours: { oldRace: true, raceWindowMs: 400 } });
    const runners = [await runnerAt(forge), await runnerAt(forge)];
    await forge.pushWorkflow(push);
    await forge.pushWorkflow(push);
    const tasks = await Promise.all(runners.map((runner) => runner.fetch()));
    expect(new Set(tasks.map((task) => task?.id)).size).toBe(2);
    expect(tasks).not.toContain(undefined);
  });

  it.each([
    { version: "1.25.1", status: "running" },
    { version: "1.27.2", status: "waiting" },
  ])("$version leaves a job whose fetcher went away $status", async ({ version, status }) => {
    const { forge } = await rig({ version });
    const run = await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    forge.faults.add({ match: /FetchTask/, fault: { kind: "slow", milliseconds: 600 }, times: 1 });
    const signal = AbortSignal.timeout(50);
    await expect(runner.rpc.fetchTask({ tasksVersion: 0n }, { signal })).rejects.toThrow();
    const route = "POST /api/actions/runner.v1.RunnerService/FetchTask";
    await expect.poll(() => forge.requests.counts()[route], { timeout: 5000 }).toBe(1);
    expect(run.job("hello").status).toBe(status);
  });
});

describe("UpdateTask", () => {
  it("refuses another runner's task and repeats the result of a finished one", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow(push);
    const owner = await runnerAt(forge, { ephemeral: false });
    const other = await runnerAt(forge, { ephemeral: false });
    const task = await owner.fetch();
    const id = task?.id ?? 0n;
    await expect(other.report(id, Result.SUCCESS)).rejects.toThrow("invalid runner for task");
    await expect(other.report(999n, Result.SUCCESS)).rejects.toMatchObject({ code: Code.Unknown });
    await owner.report(id, Result.FAILURE);
    expect((await owner.report(id, Result.SUCCESS)).state?.result).toBe(Result.FAILURE);
    expect(run.job("hello").attempts).toMatchObject([{ status: "failure", endedBy: "runner", repeats: 1 }]);
  });

  it("keeps the first value of an output and ignores what is too large", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    const task = await runner.fetch();
    const id = task?.id ?? 0n;
    const huge = { ["k".repeat(256)]: "1", big: "x".repeat(1024 * 1024 + 1), a: "1" };
    expect((await runner.report(id, Result.UNSPECIFIED, huge)).sentOutputs).toEqual(["a"]);
    await runner.report(id, Result.UNSPECIFIED, { a: "2" });
    expect(run.job("hello").attempts[0]?.outputs).toEqual({ a: "1" });
  });

  it("tells a runner of a cancel by the result where its row is kept", async () => {
    const { forge } = await rig({ behaviours: { rowGoneAtCancel: false } });
    const run = await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    const task = await runner.fetch();
    forge.cancelRun(run.id);
    expect((await runner.report(task?.id ?? 0n, Result.UNSPECIFIED)).state?.result).toBe(Result.CANCELLED);
    expect(run.job("hello")).toMatchObject({ status: "cancelled" });
  });

  it("deletes an ephemeral row at cancel otherwise", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    const task = await runner.fetch();
    forge.cancelJob(run.job("hello").id);
    await expect(runner.report(task?.id ?? 0n, Result.UNSPECIFIED)).rejects.toThrow("unregistered runner");
    expect(forge.runners("existing")).toEqual([]);
    expect(forge.runners("all")).toMatchObject([{ deleted: true, tasks: [1] }]);
  });
});

describe("UpdateLog", () => {
  it("appends what follows, drops overlap, ignores gaps, and closes", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    const id = (await runner.fetch())?.id ?? 0n;
    const ack = async (...args: [number, string[], boolean?]) => Number((await runner.log(id, ...args)).ackIndex);
    expect(await ack(0, ["a", "b"])).toBe(2);
    expect(await ack(1, ["B", "c"])).toBe(3);
    expect(await ack(5, ["gap"])).toBe(3);
    expect(await ack(0, ["a"])).toBe(3);
    expect(await ack(3, [], true)).toBe(3);
    expect(await ack(3, ["d"], true)).toBe(4);
    await expect(ack(4, ["late"])).rejects.toThrow("log file has been archived");
    const [attempt] = run.job("hello").attempts;
    expect(attempt?.log.map((line) => line.content)).toEqual(["a", "b", "c", "d"]);
    expect(attempt?.logClosed).toBe(true);
  });
});

describe("Register", () => {
  it("refuses missing, unknown and replaced tokens with their own words", async () => {
    const { forge } = await rig();
    const old = forge.registrationToken("");
    forge.resetRegistrationToken("");
    const register = (token: string) => new TestRunner(forge).register(token);
    await expect(register("")).rejects.toThrow("missing runner token, name");
    await expect(register("x")).rejects.toThrow("runner registration token not found");
    await expect(register(old)).rejects.toThrow("runner registration token has been invalidated");
  });

  it("cuts names and gives each runner its own secret", async () => {
    const { forge } = await rig();
    const a = await runnerAt(forge, { name: "n".repeat(300) });
    const b = await runnerAt(forge, { name: "same" });
    expect(forge.runners("existing").find((row) => row.id === a.id)?.name).toHaveLength(255);
    expect(a.token).not.toBe(b.token);
    b.token = a.token;
    await expect(b.fetch()).rejects.toThrow("unregistered runner");
  });

  it("refuses a deleted runner", async () => {
    const { forge, call } = await rig();
    const runner = await runnerAt(forge);
    expect((await call("DELETE", `/admin/actions/runners/${runner.id}`)).status).toBe(204);
    expect((await call("DELETE", `/admin/actions/runners/${runner.id}`)).status).toBe(404);
    await expect(runner.fetch()).rejects.toThrow("unregistered runner");
  });
});

describe("time", () => {
  it("shows a runner online for a minute and busy for ten seconds after a report", async () => {
    const clock = manualClock();
    const { forge, get } = await rig({ clock });
    await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    const row = async () => {
      const { status, busy } = (await get(`/admin/actions/runners/${runner.id}`)).body;
      return { status, busy };
    };
    expect(await row()).toEqual({ status: "offline", busy: false });
    const task = await runner.fetch();
    expect(await row()).toEqual({ status: "online", busy: false });
    await runner.report(task?.id ?? 0n, Result.UNSPECIFIED);
    expect(await row()).toEqual({ status: "online", busy: true });
    clock.advance(10_000);
    expect(await row()).toEqual({ status: "online", busy: false });
    clock.advance(50_000);
    expect(await row()).toEqual({ status: "offline", busy: false });
  });

  it("fails zombies and endless tasks and cancels abandoned jobs, at the next look of its cron", async () => {
    const clock = manualClock();
    const { forge } = await rig({ clock });
    const silent = await forge.pushWorkflow(push);
    await (await runnerAt(forge)).fetch();
    const endless = await forge.pushWorkflow(push);
    const talker = await runnerAt(forge);
    const task = await talker.fetch();
    const abandoned = await forge.pushWorkflow({ ...push, yaml: "jobs: { a: { runs-on: nobody, steps: [] } }" });

    clock.advance(9 * MINUTE);
    await talker.report(task?.id ?? 0n, Result.UNSPECIFIED);
    expect(silent.job("hello").status).toBe("running");
    clock.advance(6 * MINUTE);
    expect(silent.job("hello").attempts).toMatchObject([{ status: "failure", endedBy: "zombie" }]);
    for (let n = 0; n < 40 && endless.job("hello").status === "running"; n++) {
      await talker.report(task?.id ?? 0n, Result.UNSPECIFIED);
      clock.advance(5 * MINUTE);
    }
    expect(endless.job("hello").attempts).toMatchObject([{ status: "failure", endedBy: "endless" }]);
    expect(abandoned.job("a").status).toBe("waiting");
    clock.advance(24 * 60 * MINUTE);
    expect(abandoned.job("a").status).toBe("cancelled");
  });

  it("never cleans an ephemeral row that had no task", async () => {
    const clock = manualClock();
    const { forge } = await rig({ clock });
    await runnerAt(forge);
    clock.advance(100 * 24 * 60 * MINUTE);
    expect(forge.runners("existing")).toHaveLength(1);
  });
});

describe("runs", () => {
  const graph = `
jobs:
  a: { runs-on: ubuntu, steps: [] }
  b: { runs-on: ubuntu, needs: a, steps: [] }
  c: { runs-on: ubuntu, needs: b, if: always(), steps: [] }
  d: { runs-on: ubuntu, needs: [b], if: "\${{ failure() }}", steps: [] }
  e: { runs-on: ubuntu, needs: [a], if: success(), steps: [] }
`;
  it("skips what depends on a failure, except for always() and failure()", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow({ ...push, yaml: graph });
    const runner = await runnerAt(forge);
    await runner.report((await runner.fetch())?.id ?? 0n, Result.FAILURE);
    const statuses = Object.fromEntries(run.jobs().map((job) => [job.key, job.status]));
    expect(statuses).toEqual({ a: "failure", b: "skipped", c: "waiting", d: "waiting", e: "skipped" });
  });

  it("cancels everything that is not done", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow({ ...push, yaml: graph });
    await (await runnerAt(forge)).fetch();
    forge.cancelRun(run.id);
    expect(new Set(run.jobs().map((job) => job.status))).toEqual(new Set(["cancelled"]));
    expect(await (await runnerAt(forge)).fetch()).toBeUndefined();
  });

  it("runs a job again as a new attempt", async () => {
    const { forge, get } = await rig();
    const run = await forge.pushWorkflow(push);
    const first = await runnerAt(forge);
    await first.report((await first.fetch())?.id ?? 0n, Result.FAILURE);
    const { id, handle } = run.job("hello");
    forge.rerunJob(id);
    expect(run.job("hello")).toMatchObject({ status: "waiting", attempt: 2 });
    expect(run.job("hello").handle).not.toBe(handle);
    // An attempt counts when a runner takes it.
    expect((await get(`/repos/acme/site/actions/jobs/${id}`)).body).toMatchObject({ status: "queued", run_attempt: 1 });
    const second = await runnerAt(forge);
    await second.report((await second.fetch())?.id ?? 0n, Result.SUCCESS);
    expect((await get(`/repos/acme/site/actions/jobs/${id}`)).body).toMatchObject({
      run_attempt: 2,
      conclusion: "success",
    });
    expect(run.job("hello").attempts.map((attempt) => attempt.status)).toEqual(["failure", "success"]);
  });

  it("refuses workflows that make no sense", async () => {
    const { forge } = await rig();
    const attempt = (yaml: string) => forge.pushWorkflow({ ...push, yaml });
    await expect(attempt("jobs: {}")).rejects.toThrow("it has no jobs");
    await expect(attempt("jobs: { a: { needs: b, steps: [] } }")).rejects.toThrow('needs "b"');
    await expect(attempt("jobs: [")).rejects.toThrow("it is not YAML");
  });
});

describe.each([
  { flavour: "gitea", version: "1.25.1", oldRace: false },
  { flavour: "gitea", version: "1.27.2", oldRace: true },
  { flavour: "forgejo", version: "15.0.0+gitea-1.22.0", oldRace: true },
] as const)("many runners at once on $flavour $version", ({ flavour, version, oldRace }) => {
  it("finish every job exactly once, each runner one", async () => {
    const { forge } = await rig({ flavour, version, behaviours: { oldRace, raceWindowMs: 2 } });
    const runs = [];
    for (let n = 0; n < 15; n++) runs.push(await forge.pushWorkflow(push));
    const work = async () => {
      const runner = await runnerAt(forge);
      const task = await runner.fetch();
      if (task === undefined) return;
      await runner.log(task.id, 0, ["done"], true);
      await runner.report(task.id, Result.SUCCESS);
    };
    await Promise.all(Array.from({ length: 20 }, work));
    for (const run of runs) {
      expect(run.job("hello").attempts).toMatchObject([{ status: "success", endedBy: "runner", repeats: 0 }]);
    }
    const all = forge.runners("all");
    expect(all.filter((runner) => runner.tasks.length === 1 && runner.deleted)).toHaveLength(15);
    expect(all.filter((runner) => runner.tasks.length === 0 && !runner.deleted)).toHaveLength(5);
  });
});
