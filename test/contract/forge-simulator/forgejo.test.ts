import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { rig as anyRig, HELLO, type Rig, runnerAt, TestRunner } from "./support.ts";

const push = { repository: "acme/site", yaml: HELLO };
const rig = (major = 15): Promise<Rig> => anyRig({ flavour: "forgejo", version: `${major}.0.0+gitea-1.22.0` });

/** A runner made over REST, which has no labels before it declares them. */
async function created(
  made: Rig,
  options: { place?: string; ephemeral?: boolean; headers?: Record<string, string> } = {},
) {
  const { place = "/orgs/acme", ephemeral = true, headers = {} } = options;
  const answer = await made.call("POST", `${place}/actions/runners`, { name: "vm-1", description: "one", ephemeral });
  expect(answer.status).toBe(201);
  const runner = new TestRunner(made.forge, { headers });
  Object.assign(runner, answer.body);
  return runner;
}

describe("versions", () => {
  it.each([
    { major: 10, queue: 404, runners: 404, create: 404, adminQueue: 404 },
    { major: 13, queue: 200, runners: 404, create: 404, adminQueue: 404 },
    { major: 14, queue: 200, runners: 200, create: 405, adminQueue: 404 },
    { major: 15, queue: 200, runners: 200, create: 201, adminQueue: 200 },
  ])("Forgejo $major", async ({ major, queue, runners, create, adminQueue }) => {
    const { forge, get, call } = await rig(major);
    expect((await get("/version")).body.version).toBe(`${major}.0.0+gitea-1.22.0`);
    expect((await fetch(`${forge.url}/api/forgejo/v1/version`)).status).toBe(200);
    expect((await get("/orgs/acme/actions/runners/registration-token")).status).toBe(200);
    expect((await call("POST", "/orgs/acme/actions/runners/registration-token")).status).not.toBe(200);
    expect((await get("/orgs/acme/actions/runners/jobs?labels=x")).status).toBe(queue);
    expect((await get("/admin/runners/jobs")).status).toBe(queue);
    expect((await get("/admin/actions/runners/jobs")).status).toBe(adminQueue);
    expect((await get("/orgs/acme/actions/runners")).status).toBe(runners);
    expect((await call("POST", "/orgs/acme/actions/runners", { name: "x" })).status).toBe(create);
    expect((await get("/admin/actions/jobs")).status).toBe(404);
  });
});

describe("the queue", () => {
  it.each([
    // What is asked, and which of the jobs (needing ubuntu, nothing, or big) come back.
    { major: 13, query: "", jobs: null },
    { major: 13, query: "?labels=ubuntu", jobs: ["none", "small"] },
    { major: 14, query: "", jobs: ["large", "none", "small"] },
    { major: 14, query: "?labels=ubuntu,big", jobs: ["large", "none", "small"] },
    { major: 15, query: "", jobs: ["large", "none", "small"] },
    { major: 15, query: "?labels=", jobs: ["none"] },
    { major: 15, query: "?labels=ubuntu", jobs: ["none", "small"] },
  ])("of $major with $query", async ({ major, query, jobs }) => {
    const { forge, get } = await rig(major);
    expect((await get(`/repos/acme/site/actions/runners/jobs${query}`)).body).toBeNull();
    await forge.pushWorkflow({
      ...push,
      yaml: `
jobs:
  small: { runs-on: ubuntu, steps: [] }
  none: { steps: [] }
  large: { runs-on: [ubuntu, big], steps: [] }
  later: { runs-on: ubuntu, needs: small, steps: [] }
`,
    });
    const { body } = await get(`/repos/acme/site/actions/runners/jobs${query}`);
    expect(body?.map((job: { name: string }) => job.name).sort() ?? null).toEqual(jobs);
  });

  it("shows waiting and running jobs with their fields", async () => {
    const made = await rig();
    const run = await made.forge.pushWorkflow(push);
    const queue = async () => (await made.get("/admin/actions/runners/jobs")).body;
    const { id, handle } = run.job("hello");
    const job = { id, repo_id: 1, owner_id: 2, name: "hello", needs: null, runs_on: ["ubuntu"], attempt: 1, handle };
    expect(await queue()).toEqual([{ ...job, task_id: 0, status: "waiting" }]);
    const runner = await created(made);
    await runner.rpc.declare({ version: "v12.8.0", labels: ["ubuntu"] });
    const task = await runner.fetch();
    expect(await queue()).toEqual([{ ...job, task_id: Number(task?.id), status: "running" }]);
    await runner.report(task?.id ?? 0n, Result.SUCCESS);
    expect(await queue()).toBeNull();
  });
});

describe("runners made over REST", () => {
  it("live from creation to the deletion of their row", async () => {
    const made = await rig();
    const { forge, get } = made;
    const runner = await created(made);
    const row = async () => (await get(`/orgs/acme/actions/runners/${runner.id}`)).body;
    expect(await row()).toEqual({
      id: runner.id,
      uuid: runner.uuid,
      name: "vm-1",
      version: "",
      description: "one",
      owner_id: 2,
      repo_id: 0,
      status: "offline",
      labels: [],
      ephemeral: true,
    });
    const run = await forge.pushWorkflow(push);
    expect(await runner.fetch()).toBeUndefined();
    await runner.rpc.declare({ version: "v12.8.0", labels: ["ubuntu"] });
    expect(await row()).toMatchObject({ status: "idle", version: "v12.8.0", labels: ["ubuntu"] });
    runner.version = 0n;
    const task = await runner.fetch();
    expect(task?.secrets).toHaveProperty("FORGEJO_TOKEN");
    expect(task?.context).toHaveProperty("forgejo_runtime_token");
    await runner.report(task?.id ?? 0n, Result.UNSPECIFIED);
    expect(await row()).toMatchObject({ status: "active" });
    runner.version = 0n;
    expect(await runner.fetch()).toBeUndefined();
    await runner.report(task?.id ?? 0n, Result.SUCCESS);
    await expect(runner.fetch()).rejects.toMatchObject({
      code: Code.Unauthenticated,
      rawMessage: "unregistered runner",
    });
    expect((await get(`/orgs/acme/actions/runners/${runner.id}`)).status).toBe(404);
    expect(await run.finished()).toEqual({ hello: "success" });
  });

  it("are listed as a bare array with count and links", async () => {
    const made = await rig();
    for (let n = 0; n < 5; n++) await created(made);
    await created(made, { place: "/repos/acme/site" });
    const page = await made.get("/orgs/acme/actions/runners?limit=2&page=2");
    expect(page.body).toHaveLength(2);
    expect(page.headers.get("x-total-count")).toBe("5");
    expect(page.headers.get("link")).toMatch(/page=3>; rel="next".*page=1>; rel="prev"/);
    expect((await made.get("/repos/acme/site/actions/runners")).body).toHaveLength(1);
    expect((await made.get("/repos/acme/site/actions/runners?visible=true")).body).toHaveLength(6);
    expect((await made.call("POST", "/orgs/acme/actions/runners", {})).status).toBe(422);
  });

  it("answers unauthenticated with 401, and a bad registration with invalid_argument", async () => {
    const { forge } = await rig();
    const answer = await fetch(`${forge.url}/api/actions/runner.v1.RunnerService/FetchTask`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(answer.status).toBe(401);
    expect(await answer.json()).toEqual({ code: "unauthenticated", message: "unregistered runner" });
    await expect(new TestRunner(forge).register("x")).rejects.toMatchObject({ code: Code.InvalidArgument });
    const old = await rig(11);
    await expect(new TestRunner(old.forge).register("x")).rejects.toMatchObject({ code: Code.Unknown });
    expect((await runnerAt(old.forge)).id).toBe(1);
    expect(old.forge.runners("existing")[0]?.ephemeral).toBe(false);
  });
});

describe("request keys", () => {
  it("repeat the same task with a new job token and counter 0", async () => {
    const made = await rig();
    await made.forge.pushWorkflow(push);
    await made.forge.pushWorkflow(push);
    const runner = await created(made, { ephemeral: false, headers: { "x-runner-request-key": "key-1" } });
    await runner.rpc.declare({ version: "v12.8.0", labels: ["ubuntu"] });
    made.forge.faults.add({ match: /FetchTask/, fault: { kind: "drop-reply" }, times: 1 });
    await expect(runner.fetch()).rejects.toThrow();
    const again = await runner.rpc.fetchTask({ tasksVersion: 0n });
    expect(again.tasksVersion).toBe(0n);
    const more = await runner.rpc.fetchTask({ tasksVersion: 0n });
    expect(more.task?.id).toBe(again.task?.id);
    expect(more.task?.secrets["FORGEJO_TOKEN"]).not.toBe(again.task?.secrets["FORGEJO_TOKEN"]);
    expect(made.forge.jobs().map((job) => job.status)).toEqual(["running", "waiting"]);
  });

  it("are locked while a fetch with them is under way", async () => {
    const made = await rig();
    Object.assign(made.forge.behaviours, { oldRace: true, raceWindowMs: 500 });
    await made.forge.pushWorkflow(push);
    const runner = await created(made, { headers: { "x-runner-request-key": "key-1" } });
    await runner.rpc.declare({ version: "v12.8.0", labels: ["ubuntu"] });
    const both = await Promise.allSettled([runner.fetch(), runner.fetch()]);
    const refused = both.filter((one) => one.status === "rejected");
    expect(refused).toHaveLength(1);
    expect(refused[0]?.reason).toMatchObject({ code: Code.Internal, rawMessage: "request key is currently locked" });
  });
});

describe("FetchSingleTask", () => {
  const single = async (made: Rig, runner: TestRunner, body: unknown, type = "application/json") => {
    const answer = await fetch(`${made.forge.url}/api/actions/runner.v1.RunnerService/FetchSingleTask`, {
      method: "POST",
      headers: { "content-type": type, "x-runner-uuid": runner.uuid, "x-runner-token": runner.token },
      body: JSON.stringify(body),
    });
    const json: ReturnType<typeof JSON.parse> = await answer.json();
    return { status: answer.status, body: json };
  };

  it("takes only the job of the handle, in JSON", async () => {
    const made = await rig();
    await made.forge.pushWorkflow(push);
    const wanted = await made.forge.pushWorkflow(push);
    const runner = await created(made);
    await runner.rpc.declare({ version: "v12.8.0", labels: ["ubuntu"] });
    const { handle } = wanted.job("hello");
    const gone = await single(made, runner, { tasksVersion: "0", handle: "another" });
    expect(gone.status).toBe(200);
    expect(gone.body).not.toHaveProperty("task");
    const taken = await single(made, runner, { handle });
    expect(taken.body.task.context.run_id).toBe(String(wanted.id));
    expect(wanted.job("hello").status).toBe("running");
    expect((await single(made, runner, { handle: 5 })).status).toBe(400);
    expect((await single(made, runner, {}, "application/proto")).status).toBe(501);
  });

  it("does not exist on Gitea and older Forgejo", async () => {
    const made = await rig(14);
    expect(
      (await fetch(`${made.forge.url}/api/actions/runner.v1.RunnerService/FetchSingleTask`, { method: "POST" })).status,
    ).toBe(404);
  });
});
