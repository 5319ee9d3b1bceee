import { randomUUID } from "node:crypto";
import type { Task } from "../../../../gen/runner/v1/runner_pb.js";
import type { Clock } from "../../../base/clock.ts";
import { describe, FireteactError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/log.ts";
import type { AgentEvent } from "../../../channel/messages.ts";
import { createRunnerClient, type RunnerClient } from "../../../runner-rpc/client.ts";
import { rpcProblem } from "../../../runner-rpc/errors.ts";
import { REQUEST_KEY_HEADER } from "../../../runner-rpc/headers.ts";
import type { RunnerFile } from "./runner-file.ts";

interface EngineOptions {
  runner: RunnerFile;
  workDir: string;
  /** Milliseconds that a job may take. */
  jobLimit: number;
  environment: Record<string, string>;
  version: string;
  clock: Clock;
  log: Logger;
  tell: (event: AgentEvent) => void;
}

export interface ShellEngine {
  /** Takes one task and runs it. Resolves whatever the job's result; rejects where no task could ever come. */
  run(): Promise<void>;
  /** Take no task any more; one that is there goes on. */
  drain(): void;
  /** End the job too. */
  cancel(): void;
}

const FETCH_INTERVAL = 2_000;
/** Of older forges, a runner that lost the race for a job is not told that it still waits: it looks again by itself. */
const LOOK_AGAIN = 15_000;
const LONGEST_RETRY = 10_000;
const REQUEST_LIMIT = 60_000;

export function createShellEngine(options: EngineOptions): ShellEngine {
  const { runner, clock, log, tell } = options;
  const client = createRunnerClient({ baseUrl: runner.address, uuid: runner.uuid, token: runner.token });
  const draining = new AbortController();
  const cancelled = new AbortController();

  return {
    async run() {
      await declare(client);
      if (!draining.signal.aborted) tell({ kind: "listening" });
      // The larger part of this program is read while the forge is asked for a job.
      const [task, { runTask }] = await Promise.all([
        waitForTask(client),
        clock.sleep(0).then(() => import("./task.ts")),
      ]);
      if (task === undefined) return tell({ kind: "drained" });
      await runTask({ ...options, client: client.runner, task, cancelled: cancelled.signal });
    },
    drain: () => draining.abort(),
    cancel() {
      draining.abort();
      cancelled.abort("The runner was asked to end");
    },
  };

  async function declare({ runner: rpc }: RunnerClient): Promise<void> {
    const labels = runner.labels.map((label) => label.split(":")[0] ?? label);
    await persist(
      "declare",
      async () => await rpc.declare({ version: options.version, labels }, { timeoutMs: REQUEST_LIMIT }),
    );
  }

  /** Undefined once there will be none. A request on its way is never given up: its answer may be the task. */
  async function waitForTask(rpc: RunnerClient): Promise<Task | undefined> {
    const { handle } = runner;
    const headers = { [REQUEST_KEY_HEADER]: randomUUID() };
    let version = 0n;
    let lookedAt = clock.uptime();
    while (!draining.signal.aborted) {
      if (clock.uptime() - lookedAt > LOOK_AGAIN) version = 0n;
      if (version === 0n) lookedAt = clock.uptime();
      const asked = version;
      const call = { timeoutMs: REQUEST_LIMIT, headers };
      const answer = await persist("fetch", async () =>
        handle === undefined
          ? await rpc.runner.fetchTask({ tasksVersion: asked }, call)
          : await rpc.fetchSingleTask({ handle, tasksVersion: asked }, call),
      );
      if (answer?.task !== undefined) return answer.task;
      if (answer !== undefined) version = answer.tasksVersion;
      const jitter = 0.8 + 0.4 * Math.random();
      await clock.sleep(FETCH_INTERVAL * jitter, draining.signal).catch(() => undefined);
    }
    return undefined;
  }

  /** Repeats the call until the forge answers; undefined when the engine is drained meanwhile. */
  async function persist<T>(what: string, call: () => Promise<T>): Promise<T | undefined> {
    for (let delay = 500; ; delay = Math.min(2 * delay, LONGEST_RETRY)) {
      try {
        return await call();
      } catch (error) {
        const problem = rpcProblem(error);
        if (problem === "unregistered" || problem === "unimplemented") throw refused(runner.address, problem, error);
        log.warn({ call: what, err: describe(error) }, "the forge did not answer; it will be asked again");
      }
      if (draining.signal.aborted) return undefined;
      await clock.sleep(delay, draining.signal).catch(() => undefined);
    }
  }
}

function refused(address: string, problem: "unregistered" | "unimplemented", cause: unknown): FireteactError {
  return problem === "unregistered"
    ? new FireteactError("RUNNER_UNKNOWN", `the forge at ${address} does not know this runner`, {
        cause,
        hint: "its registration was deleted, or it has had its job",
      })
    : new FireteactError("NO_RUNNER_PROTOCOL", `${address} does not speak the runner protocol`, {
        cause,
        hint: "check the forge's address, and that Actions are enabled there",
      });
}
