import { setTimeout as sleep } from "node:timers/promises";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";

export interface ScriptedCredentials {
  address: string;
  uuid: string;
  token: string;
  labels: string;
}

export interface EngineScript {
  /** Milliseconds between two asks for a job. */
  fetchInterval: number;
  /** Milliseconds a job takes. */
  jobTime: number;
}

/** An engine that speaks the real runner protocol and whose jobs do nothing but pass the time. */
export async function runScriptedEngine(
  credentials: ScriptedCredentials,
  script: EngineScript,
  hooks: { report: (event: AgentEvent) => void; draining: () => boolean; signal: AbortSignal },
): Promise<void> {
  const { runner } = createRunnerClient({
    baseUrl: credentials.address,
    uuid: credentials.uuid,
    token: credentials.token,
  });
  const { signal } = hooks;
  const labels = credentials.labels.split(",").map((label) => label.split(":")[0] ?? "");
  await runner.declare({ version: "scripted", labels }, { signal });
  hooks.report({ kind: "listening" });
  let tasksVersion = 0n;
  for (;;) {
    if (hooks.draining()) {
      hooks.report({ kind: "drained" });
      return;
    }
    const answer = await runner.fetchTask({ tasksVersion }, { signal });
    tasksVersion = answer.tasksVersion;
    const { task } = answer;
    if (task === undefined) {
      await sleep(script.fetchInterval, undefined, { signal });
      continue;
    }
    hooks.report({ kind: "assigned", taskId: Number(task.id) });
    hooks.report({ kind: "first-step" });
    await sleep(script.jobTime, undefined, { signal });
    const update = await runner.updateTask({ state: { id: task.id, result: Result.SUCCESS, steps: [] } }, { signal });
    const cancelled = update.state?.result === Result.CANCELLED;
    hooks.report({ kind: "job-finished", result: cancelled ? "cancelled" : "success" });
    hooks.report({ kind: "engine-exited", code: 0 });
    return;
  }
}
