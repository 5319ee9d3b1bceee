import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import {
  Result,
  UpdateLogRequestSchema,
  type UpdateTaskRequest,
  UpdateTaskRequestSchema,
} from "../../../gen/runner/v1/runner_pb.js";
import type { Conclusion } from "../../../src/forge-simulator/records.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../../src/forge-simulator/simulator.ts";
import { startStrictForge } from "../../support/strict-forge.ts";
import { runnerAt } from "../forge-simulator/support.ts";
import { closeLater, failureOf, never, targetAt } from "./harness.ts";

const WORKFLOW = `
on: push
jobs:
  build:
    runs-on: ubuntu
    steps: [{ run: "true" }]
`;
const LINES = ["", "::error::the sandbox died"];

async function simulated(options: Partial<ForgeSimulatorOptions>): Promise<ForgeSimulator> {
  const forge = closeLater(
    await createForgeSimulator({ flavour: "gitea", version: "1.25.1", basePath: "/git", ...options }),
  );
  forge.addUser("root", { admin: true });
  forge.addOrganization("acme", { owners: ["root"] });
  await forge.addRepository("acme/site");
  return forge;
}

/** A runner that has a task and wrote two lines of its log. */
async function atWork(options: Partial<ForgeSimulatorOptions> = {}, ephemeral = true) {
  const forge = await simulated(options);
  const run = await forge.pushWorkflow({ repository: "acme/site", yaml: WORKFLOW });
  const runner = await runnerAt(forge, { ephemeral });
  const task = await runner.fetch();
  if (task === undefined) throw new Error("the runner got no task");
  await runner.log(task.id, 0, ["one", "two"]);
  const target = targetAt(forge.url);
  const fail = (taskId = Number(task.id)) =>
    target.failTask({ uuid: runner.uuid, token: runner.token, taskId, lines: LINES }, never);
  const attempt = () => {
    const [only, ...more] = run.job("build").attempts;
    if (only === undefined || more.length > 0) throw new Error("the job has not had one attempt");
    return { ...only, log: only.log.map(({ content }) => content) };
  };
  return { forge, runner, task: task.id, fail, attempt, run };
}

describe.each<[ForgeSimulatorOptions["flavour"], string]>([
  ["gitea", "1.24.7"],
  ["gitea", "1.25.1"],
  ["gitea", "1.27.2"],
  ["forgejo", "15.0.0+gitea-1.22.0"],
  ["forgejo", "16.0.1+gitea-1.22.0"],
])("a task whose runner is gone, at %s %s", (flavour, version) => {
  const options = { flavour, version };

  it("ends as failed, with the reason as the log's last line, and its row goes", async () => {
    const { forge, fail, attempt } = await atWork(options);
    expect(await fail()).toEqual({ state: "failed" });
    expect(attempt()).toMatchObject({ status: "failure", endedBy: "runner", log: ["one", "two", ...LINES] });
    expect(attempt().logClosed).toBe(true);
    expect(forge.runners("existing")).toEqual([]);
  });

  it("is told once, however often it is tried", async () => {
    const { fail, attempt } = await atWork(options);
    await fail();
    expect(await fail()).toEqual({ state: "over" });
    expect(attempt()).toMatchObject({ status: "failure", repeats: 0, log: ["one", "two", ...LINES] });
  });

  it.each<[string, Result, Conclusion]>([
    ["succeeded", Result.SUCCESS, "success"],
    ["was skipped", Result.SKIPPED, "skipped"],
  ])("stays what it was when it %s, also where the row is kept", async (_, result, status) => {
    for (const ephemeral of [true, false]) {
      const { runner, task, fail, attempt } = await atWork(options, ephemeral);
      await runner.log(task, 2, ["the end"], true);
      await runner.report(task, result);
      expect(await fail()).toEqual(ephemeral ? { state: "over" } : { state: "over", result: status });
      expect(attempt()).toMatchObject({ status, log: ["one", "two", "the end"] });
    }
  });

  it("stays cancelled, and nothing is added to its log", async () => {
    const { forge, run, fail, attempt } = await atWork({ ...options, behaviours: { rowGoneAtCancel: false } });
    forge.cancelRun(run.id);
    expect(await fail()).toEqual({ state: "over", result: "cancelled" });
    expect(attempt()).toMatchObject({ status: "cancelled", endedBy: "cancel", log: ["one", "two"] });
  });

  it("is ended although its engine had closed the log", async () => {
    const { runner, task, fail, attempt } = await atWork(options);
    await runner.log(task, 2, ["the end"], true);
    expect(await fail()).toEqual({ state: "failed" });
    expect(attempt()).toMatchObject({ status: "failure", log: ["one", "two", "the end"] });
  });

  it("of another runner is left alone", async () => {
    const { forge, task, fail, attempt } = await atWork(options);
    await forge.pushWorkflow({ repository: "acme/site", yaml: WORKFLOW });
    const other = await runnerAt(forge, { name: "other" });
    const foreign = await other.fetch();
    const error = await failureOf(fail(Number(foreign?.id)));
    expect(error).toMatchObject({ code: "FORGE_REFUSED", message: expect.stringContaining("invalid runner for task") });
    expect(await failureOf(fail(4_711))).toMatchObject({ code: "FORGE_REFUSED" });
    expect(forge.jobs().map(({ status }) => status)).toEqual(["running", "running"]);
    expect([task, attempt().log]).toEqual([task, ["one", "two"]]);
  });

  it.each(["UpdateTask", "UpdateLog"])("is ended once when an answer of %s is lost", async (method) => {
    for (let after = 0; after < 2; after++) {
      const { forge, fail, attempt } = await atWork(options);
      const match = `POST /api/actions/runner.v1.RunnerService/${method}`;
      forge.faults.add({ match, after, times: 1, fault: { kind: "drop-reply" } });
      const { state } = await fail();
      // After the lost answer to the last word the forge only says that it does not know the runner.
      expect(state).toBe(method === "UpdateTask" && after === 1 ? "over" : "failed");
      expect(forge.faults.struck()).toBe(1);
      expect(attempt()).toMatchObject({ status: "failure", log: ["one", "two", ...LINES] });
    }
  });
});

describe("what is sent", () => {
  it("is binary, in the runner's name, in an order that ephemeral runners survive", async () => {
    const forge = closeLater(await startStrictForge({ version: "1.25.1", subPath: "/git" }));
    const states: UpdateTaskRequest["state"][] = [];
    const calls: string[] = [];
    const proto = { "content-type": "application/proto" };
    forge.on("POST /api/actions/runner.v1.RunnerService/UpdateTask", ({ headers, body }, response) => {
      expect(headers).toMatchObject({ ...proto, "x-runner-uuid": "the-uuid", "x-runner-token": "the-token" });
      expect(headers.authorization).toBeUndefined();
      const { state } = fromBinary(UpdateTaskRequestSchema, body);
      states.push(state);
      calls.push(`task ${state?.result}`);
      // TaskState{id: 9, result: as asked}
      response.writeHead(200, proto).end(Buffer.from([10, 4, 8, 9, 16, state?.result ?? 0]));
    });
    forge.on("POST /api/actions/runner.v1.RunnerService/UpdateLog", ({ headers, body }, response) => {
      expect(headers).toMatchObject({ ...proto, "x-runner-uuid": "the-uuid", "x-runner-token": "the-token" });
      const { index, rows, noMore } = fromBinary(UpdateLogRequestSchema, body);
      calls.push(`log ${index} ${rows.map(({ content }) => content).join("|")} ${noMore}`);
      response.writeHead(200, proto).end(Buffer.from([8, rows.length === 0 ? 40 : 42]));
    });
    const failure = { uuid: "the-uuid", token: "the-token", taskId: 9, lines: LINES };
    expect(await targetAt(forge.url).failTask(failure, never)).toEqual({ state: "failed" });
    expect(calls).toEqual([
      `task ${Result.UNSPECIFIED}`,
      "log 0  false",
      "log 40 |::error::the sandbox died true",
      `task ${Result.FAILURE}`,
    ]);
    expect(states[1]).toMatchObject({ id: 9n, stoppedAt: { seconds: expect.any(BigInt) } });
  });

  it("is shown to nobody when it is refused", async () => {
    const { forge, fail } = await atWork();
    const path = "POST /api/actions/runner.v1.RunnerService/UpdateTask";
    forge.faults.add({ match: path, fault: { kind: "status", status: 500, message: "no" } });
    const error = await failureOf(fail());
    expect(error).toMatchObject({ code: "FORGE_SERVER_ERROR" });
    expect(JSON.stringify([error.message, error.facts])).not.toMatch(/[0-9a-f]{40}/);
  });
});
