import { setTimeout as sleep } from "node:timers/promises";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";

export interface ScriptedCredentials {
  address: string;
  uuid: string;
  token: string;
  labels: string;
  /** The only job attempt that it may take, where the forge binds runners. */
  handle?: string;
}

export interface EngineScript {
  /** Milliseconds between two asks for a job, and between two reports of a job that runs. */
  fetchInterval: number;
  /** Milliseconds a job takes; Infinity: until it is cancelled or its sandbox ends. */
  jobTime: number;
  /** Works on, whatever the forge says. */
  neverReports?: boolean;
  /** Gets credentials and does nothing with them. */
  neverListens?: boolean;
  /** Says that it asks for jobs, and does not. */
  neverFetches?: boolean;
  /** Tells the forge of its job's end, but nobody here. */
  endsUnheard?: boolean;
  /** Says that it has a job, but not which. */
  withholdsTask?: boolean;
  /** Asks for jobs and answers no drain until this says so. */
  deaf?: () => boolean;
}

/** An engine that speaks the real runner protocol and whose jobs do nothing but pass the time. */
export async function runScriptedEngine(
  credentials: ScriptedCredentials,
  script: EngineScript,
  hooks: { report: (event: AgentEvent) => void; draining: () => boolean; signal: AbortSignal },
): Promise<void> {
  const client = createRunnerClient({
    baseUrl: credentials.address,
    uuid: credentials.uuid,
    token: credentials.token,
  });
  const { runner } = client;
  const { signal } = hooks;
  if (script.neverListens === true) await sleep(600_000, undefined, { signal });
  const labels = credentials.labels.split(",").map((label) => label.split(":")[0] ?? "");
  await stubbornly(() => runner.declare({ version: "scripted", labels }, { signal }), script, signal);
  hooks.report({ kind: "listening" });
  let tasksVersion = 0n;
  for (;;) {
    if (hooks.draining() && script.deaf?.() !== true) {
      hooks.report({ kind: "drained" });
      return;
    }
    if (script.neverFetches === true) {
      await sleep(script.fetchInterval, undefined, { signal });
      continue;
    }
    const { handle } = credentials;
    const fetchTask = () =>
      handle === undefined
        ? runner.fetchTask({ tasksVersion }, { signal })
        : client.fetchSingleTask({ handle, tasksVersion }, { signal });
    const answer = await stubbornly(fetchTask, script, signal);
    tasksVersion = answer.tasksVersion;
    const { task } = answer;
    if (task === undefined) {
      await sleep(script.fetchInterval, undefined, { signal });
      continue;
    }
    hooks.report({ kind: "assigned", ...(script.withholdsTask === true ? {} : { taskId: Number(task.id) }) });
    hooks.report({ kind: "first-step" });
    const cancelled = await work(task.id);
    if (script.endsUnheard === true) return;
    hooks.report({ kind: "job-finished", result: cancelled ? "cancelled" : "success" });
    hooks.report({ kind: "engine-exited", code: 0 });
    return;
  }

  /** Passes the time, reporting now and then as engines do; says whether the forge cancelled the job. */
  async function work(id: bigint): Promise<boolean> {
    const end = performance.now() + script.jobTime;
    for (;;) {
      const isLast = performance.now() >= end;
      if (script.neverReports === true && !isLast) {
        await sleep(Math.min(end - performance.now(), 600_000), undefined, { signal });
        continue;
      }
      const state = { id, result: isLast ? Result.SUCCESS : Result.UNSPECIFIED, steps: [] };
      try {
        const { state: told } = await runner.updateTask({ state }, { signal });
        if (told?.result === Result.CANCELLED) return true;
        if (isLast) return false;
      } catch (error) {
        signal.throwIfAborted();
        // The forge deleted the runner with its job; anything else passes.
        if (String(error).includes("unregistered")) return true;
      }
      await sleep(Math.max(Math.min(end - performance.now(), script.fetchInterval), 1), undefined, { signal });
    }
  }
}

/** As engines do while their forge is away. */
async function stubbornly<T>(call: () => Promise<T>, script: EngineScript, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      if (String(error).includes("unregistered")) throw error;
      await sleep(script.fetchInterval, undefined, { signal });
    }
  }
}
