import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { HELLO, rig, runnerAt, TestRunner } from "./support.ts";

describe.each([{ json: false }, { json: true }])("the life of an ephemeral runner, JSON: $json", ({ json }) => {
  it("registers, declares, takes its one job, logs, reports and is gone", async () => {
    const { forge, call, get } = await rig();
    const { body } = await call("POST", "/repos/acme/site/actions/runners/registration-token");
    const runner = new TestRunner(forge, { json });
    const row = await runner.register(body.token);
    expect(row).toMatchObject({ name: "vm-1", ephemeral: true, labels: ["ubuntu"] });
    const declared = await runner.rpc.declare({ version: "v3.3.1", labels: ["ubuntu", "extra"] });
    expect(declared.runner?.labels).toEqual(["ubuntu", "extra"]);
    expect(declared.runner?.token).toBe("");

    expect(await runner.fetch()).toBeUndefined();
    expect(runner.version).toBeGreaterThan(0n);
    const run = await forge.pushWorkflow({
      repository: "acme/site",
      yaml: HELLO,
      secrets: { KEY: "s3cret" },
      variables: { COLOUR: "red" },
    });
    const task = await runner.fetch();
    if (task === undefined) throw new Error("no task");
    expect(parse(Buffer.from(task.workflowPayload ?? []).toString("utf8"))).toEqual({
      name: "hello",
      on: "push",
      env: { GREETING: "hi" },
      jobs: { hello: { "runs-on": "ubuntu", steps: [{ run: "echo hello" }] } },
    });
    expect(task.context).toMatchObject({
      repository: "acme/site",
      event_name: "push",
      ref: "refs/heads/main",
      ref_name: "main",
      sha: run.sha,
      job: "hello",
      run_id: String(run.id),
      server_url: `${forge.url}/`,
      api_url: `${forge.url}/api/v1`,
      event: { repository: { full_name: "acme/site" }, after: run.sha },
      token: task.secrets["GITEA_TOKEN"],
    });
    expect(task.secrets).toMatchObject({ KEY: "s3cret", GITHUB_TOKEN: task.secrets["GITEA_TOKEN"] });
    expect(task.vars).toEqual({ COLOUR: "red" });
    const { gitea_runtime_token: runtimeToken } = task.context as Record<string, string>;
    const claims = runtimeToken?.split(".")[1] ?? "";
    expect(JSON.parse(Buffer.from(claims, "base64url").toString())).toMatchObject({
      scp: `Actions.Results:${run.id}:${run.job("hello").id}`,
      TaskID: Number(task.id),
    });

    const busy = await get(`/repos/acme/site/actions/jobs?status=in_progress`);
    expect(busy.body.jobs[0]).toMatchObject({ status: "in_progress", runner_id: runner.id, runner_name: "vm-1" });

    expect((await runner.report(task.id, Result.UNSPECIFIED)).state?.result).toBe(Result.UNSPECIFIED);
    expect((await runner.log(task.id, 0, ["one", "two"])).ackIndex).toBe(2n);
    expect((await runner.log(task.id, 2, ["three"], true)).ackIndex).toBe(3n);
    const final = await runner.report(task.id, Result.SUCCESS, { answer: "42" });
    expect(final.state?.result).toBe(Result.SUCCESS);
    expect(final.sentOutputs).toEqual(["answer"]);

    await expect(runner.fetch()).rejects.toMatchObject({
      code: Code.Unknown,
      rawMessage: "rpc error: code = Unauthenticated desc = unregistered runner",
    });
    expect((await get(`/repos/acme/site/actions/runners/${runner.id}`)).status).toBe(404);
    const done = (await get(`/repos/acme/site/actions/jobs/${run.job("hello").id}`)).body;
    const ended = { status: "completed", conclusion: "success", runner_id: runner.id, runner_name: "vm-1" };
    expect(done).toMatchObject(ended);
    const log = (await get(`/repos/acme/site/actions/jobs/${run.job("hello").id}/logs`)).body;
    expect(log).toMatch(/^\S+Z one\n\S+Z two\n\S+Z three\n$/);
    expect(await run.finished()).toEqual({ hello: "success" });
    expect(run.job("hello").attempts).toHaveLength(1);
  });

  it("answers an unknown runner with 500 and an unknown code", async () => {
    const { forge } = await rig();
    const stranger = new TestRunner(forge, { json });
    const error = await stranger.rpc.fetchTask({ tasksVersion: 0n }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConnectError);
    const answer = await fetch(`${forge.url}/api/actions/runner.v1.RunnerService/FetchTask`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    expect(answer.status).toBe(500);
    expect(await answer.json()).toEqual({
      code: "unknown",
      message: "rpc error: code = Unauthenticated desc = unregistered runner",
    });
  });

  it("runs a graph of jobs in order and hands outputs on", async () => {
    const { forge } = await rig();
    const run = await forge.pushWorkflow({
      repository: "acme/site",
      yaml: `
jobs:
  build: { runs-on: ubuntu, steps: [{ run: make }] }
  test: { runs-on: [ubuntu], needs: build, steps: [{ run: test }] }
`,
    });
    expect(run.jobs().map((job) => job.status)).toEqual(["waiting", "blocked"]);
    const first = await runnerAt(forge, { json });
    const build = await first.fetch();
    if (build === undefined) throw new Error("no task");
    await first.report(build.id, Result.SUCCESS, { version: "7" });
    expect(run.job("test").status).toBe("waiting");
    const second = await runnerAt(forge, { json });
    const test = await second.fetch();
    expect(test?.needs["build"]).toMatchObject({ result: Result.SUCCESS, outputs: { version: "7" } });
    expect(Object.keys(parse(Buffer.from(test?.workflowPayload ?? []).toString()).jobs)).toEqual(["test"]);
    expect(Buffer.from(test?.workflowPayload ?? []).toString()).not.toContain("needs");
  });
});
