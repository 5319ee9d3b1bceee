import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { describe, expect, it, onTestFinished } from "vitest";
import { RunnerService } from "../../../gen/runner/v1/runner_pb.js";
import { createShellEngine } from "../../../src/agent/engines/shell/engine.ts";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { forgeWith, runJob, startEngine, until, workflowOf } from "./shell-world.ts";

const RPC = "POST /api/actions/runner.v1.RunnerService";
const LINES = Array.from({ length: 50 }, (_, index) => `line ${index}`);
const CHATTY = workflowOf(
  `- { id: one, run: "for i in $(seq 0 24); do echo line $i; sleep 0.05; done; echo answer=42 >> $GITHUB_OUTPUT" }
- run: for i in $(seq 25 49); do echo line $i; sleep 0.05; done`,
  'outputs: { answer: "${{ steps.one.outputs.answer }}" }',
);

describe("the shell engine and a forge in trouble", () => {
  it.each([
    ["gitea", "1.25.1"],
    ["gitea", "1.24.0"],
    ["forgejo", "15.0.0+gitea-1.22.0"],
  ] as const)(
    "loses nothing of a job on %s %s",
    async (flavour, version) => {
      const forge = await forgeWith({ flavour, version });
      forge.faults.add({ match: `${RPC}/Declare`, fault: { kind: "status", status: 503 }, times: 1 });
      forge.faults.add({ match: `${RPC}/FetchTask`, fault: { kind: "html" }, times: 1 });
      forge.faults.add({ match: `${RPC}/UpdateLog`, fault: { kind: "drop-reply" }, times: 2 });
      forge.faults.add({ match: `${RPC}/UpdateLog`, fault: { kind: "reset" }, after: 1, times: 1 });
      forge.faults.add({ match: `${RPC}/UpdateTask`, fault: { kind: "status", status: 502 }, times: 2 });
      const { code, job, attempt, log } = await runJob(forge, CHATTY);
      expect(code).toBe(0);
      expect(job?.status).toBe("success");
      expect(log.filter((line) => line.startsWith("line "))).toEqual(LINES);
      expect(attempt?.outputs).toEqual({ answer: "42" });
      expect(attempt?.logClosed).toBe(true);
      expect(forge.faults.struck()).toBeGreaterThanOrEqual(6);
      expect(forge.runners("existing")).toEqual([]);
    },
    30_000,
  );

  it("is given the task again when the forge's answer was lost and the forge can do that", async () => {
    const forge = await forgeWith({ flavour: "forgejo", version: "15.0.0+gitea-1.22.0" });
    forge.faults.add({ match: `${RPC}/FetchTask`, fault: { kind: "drop-reply" }, times: 1 });
    const { job } = await runJob(forge, workflowOf("- run: echo once"));
    expect(job?.status).toBe("success");
    expect(job?.attempts).toHaveLength(1);
  });

  it("ends in good order when the answer to its last word is lost", async () => {
    const forge = await forgeWith();
    const run = await forge.pushWorkflow({ repository: "acme/site", yaml: workflowOf("- run: sleep 1.2") });
    const engine = await startEngine(forge);
    await until(() => engine.kinds().includes("first-step"), "the first step");
    // The running state was told by now; what comes next is the end.
    forge.faults.add({ match: `${RPC}/UpdateTask`, fault: { kind: "drop-reply" }, after: 1, times: 1 });
    expect(await engine.exited).toBe(0);
    expect(await run.finished()).toEqual({ main: "success" });
    expect(engine.events.at(-1)).toEqual({ kind: "job-finished", result: "success" });
  }, 30_000);

  it("looks again by itself, since the loser of a race for a job is not told that others wait", async () => {
    const asked: bigint[] = [];
    let uptime = 0;
    const adapter = connectNodeAdapter({
      requestPathPrefix: "/api/actions",
      routes: (router) =>
        void router.service(RunnerService, {
          declare: () => ({}),
          fetchTask: ({ tasksVersion }) => {
            asked.push(tasksVersion);
            return { tasksVersion: 7n };
          },
        }),
    });
    const server = createServer(adapter);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const sleep: Clock["sleep"] = async (milliseconds) => {
      uptime += milliseconds;
      if (uptime > 40_000) engine.drain();
      await new Promise(setImmediate);
    };
    const events: AgentEvent[] = [];
    const engine = createShellEngine({
      runner: { name: "r", uuid: "u", token: "t", address: `http://127.0.0.1:${port}`, labels: [] },
      workDir: "/nonexistent",
      jobLimit: 1,
      environment: {},
      version: "test",
      clock: { ...systemClock, uptime: () => uptime, sleep },
      log: silentLogger,
      tell: (event) => void events.push(event),
    });
    await engine.run();
    expect(asked.slice(0, 3)).toEqual([0n, 7n, 7n]);
    expect(asked.filter((version) => version === 0n)).toHaveLength(3);
    expect(asked.length).toBeGreaterThan(12);
    expect(events).toEqual([{ kind: "listening" }, { kind: "drained" }]);
  });

  it("takes a large log in order and within bounds", async () => {
    const forge = await forgeWith();
    const { engine, log, job } = await runJob(forge, workflowOf("- run: seq 1 200000"));
    expect(job?.status).toBe("success");
    const numbers = log.filter((line) => /^\d+$/.test(line));
    expect(numbers).toHaveLength(200_000);
    expect(numbers.at(-1)).toBe("200000");
    expect(engine.output()).toBe("");
  }, 30_000);
});
