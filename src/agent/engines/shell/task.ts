import type { Client } from "@connectrpc/connect";
import type { RunnerService, Task } from "../../../../gen/runner/v1/runner_pb.js";
import type { Clock } from "../../../base/clock.ts";
import type { Logger } from "../../../base/log.ts";
import { contextOrigin, distrust } from "../../../base/trust.ts";
import type { AgentEvent } from "../../../channel/messages.ts";
import { untrusted } from "../trust.ts";
import { type JobOutcome, runJob, writeError } from "./job.ts";
import { createJobContext } from "./job-context.ts";
import { createJobLog, type JobLog } from "./job-log.ts";
import { createMasks, type Masks } from "./masks.ts";
import { createReporter } from "./reporter.ts";
import type { RunnerFile } from "./runner-file.ts";
import { textOf } from "./text.ts";
import { readWorkflow, type Workflow } from "./workflow.ts";

interface TaskOptions {
  client: Client<typeof RunnerService>;
  task: Task;
  runner: RunnerFile;
  workDir: string;
  jobLimit: number;
  environment: Record<string, string>;
  version: string;
  clock: Clock;
  log: Logger;
  cancelled: AbortSignal;
  tell: (event: AgentEvent) => void;
}

/** Outputs beyond these bounds are ignored by forges. */
const LONGEST_OUTPUT_NAME = 255;
const LONGEST_OUTPUT = 1024 * 1024;

/** Runs one task to its end and tells the forge; the forge's view of it is complete when this resolves. */
export async function runTask(options: TaskOptions): Promise<void> {
  const { task, clock, tell } = options;
  const github = (task.context ?? {}) as Record<string, unknown>;
  const name = text(github["job"]);
  tell({
    kind: "assigned",
    taskId: Number(task.id),
    name,
    repository: text(github["repository"]),
    runId: text(github["run_id"]),
  });
  const masks = masksOf(task);
  const echo = createEcho(tell);
  const jobLog = createJobLog(masks, clock, (line) => echo.line(line));
  const stop = new AbortController();
  const workflow = tryRead(options, github);
  const reporter = createReporter({
    client: options.client,
    taskId: task.id,
    steps: workflow.ok ? workflow.value.steps.length : 0,
    log: jobLog,
    clock,
    logger: options.log,
    onStopped: (reason) => stop.abort(sentence(reason)),
  });
  writeHeading(jobLog, options, github);

  let outcome: JobOutcome = { result: "failure", outputs: {} };
  if (workflow.ok) {
    const context = tryContext(options, workflow.value, jobLog);
    if (context !== undefined) {
      outcome = await runJob({
        workflow: workflow.value,
        context,
        log: jobLog,
        masks,
        reporter,
        clock,
        debug: task.secrets["ACTIONS_STEP_DEBUG"] === "true" || task.vars["ACTIONS_STEP_DEBUG"] === "true",
        limit: options.jobLimit,
        cancelled: AbortSignal.any([options.cancelled, stop.signal]),
        onFirstStep: () => tell({ kind: "first-step" }),
      });
    }
  } else {
    writeError(jobLog, workflow.error);
  }
  for (const step of reporter.steps) step.result ??= "skipped";
  jobLog.write(`Job ${name} ended: ${outcome.result}.`);
  await reporter.finish(outcome.result, bounded(outcome.outputs, jobLog));
  echo.flush();
  tell({ kind: "job-finished", result: outcome.result });
}

/** The task's steps, unless it is one that must not run here. */
function tryRead(
  { task, runner: { trust } }: TaskOptions,
  github: Record<string, unknown>,
): { ok: true; value: Workflow } | { ok: false; error: unknown } {
  const refusal = trust === undefined ? undefined : distrust(trust, contextOrigin(github));
  if (refusal !== undefined) return { ok: false, error: untrusted(refusal) };
  try {
    return { ok: true, value: readWorkflow(task.workflowPayload ?? new Uint8Array()) };
  } catch (error) {
    return { ok: false, error };
  }
}

function tryContext({ task, workDir, runner, environment }: TaskOptions, workflow: Workflow, log: JobLog) {
  try {
    return createJobContext({ task, workflow, workDir, runnerName: runner.name, base: environment });
  } catch (error) {
    writeError(log, error);
    return undefined;
  }
}

/** Every secret, and the tokens that travel in the context. */
function masksOf(task: Task): Masks {
  const masks = createMasks();
  const context = (task.context ?? {}) as Record<string, unknown>;
  const tokens = Object.entries(context).filter(([key]) => /token$/i.test(key));
  const values = [...Object.values(task.secrets), ...tokens.map(([, value]) => textOf(value))];
  for (const value of values) masks.add(value);
  return masks;
}

function writeHeading(log: JobLog, { runner, version, task }: TaskOptions, github: Record<string, unknown>): void {
  log.write(`${runner.name} (Fireteact ${version}, engine shell) runs task ${task.id}`);
  log.write(`Repository ${text(github["repository"])}, ${text(github["ref"])}, commit ${text(github["sha"])}`);
}

function bounded(outputs: Record<string, string>, log: JobLog): Record<string, string> {
  const fits = ([name, value]: [string, string]): boolean => {
    const ok = Buffer.byteLength(name) <= LONGEST_OUTPUT_NAME && Buffer.byteLength(value) <= LONGEST_OUTPUT;
    if (!ok) log.write(`::warning::The output ${name.slice(0, 100)} is too long for the forge and is left out.`);
    return ok;
  };
  return Object.fromEntries(Object.entries(outputs).filter(fits));
}

/** The job's log for the host, in pieces. */
function createEcho(tell: (event: AgentEvent) => void): { line(text: string): void; flush(): void } {
  const PIECE = 4 * 1024;
  let held = "";
  const flush = (): void => {
    if (held !== "") tell({ kind: "log", stream: "job", text: held });
    held = "";
  };
  return {
    line(text) {
      if (held === "") setTimeout(flush, 200).unref();
      held += `${text}\n`;
      if (held.length > PIECE) flush();
    },
    flush,
  };
}

const text = (value: unknown): string => textOf(value).slice(0, 500);
const sentence = (reason: string): string => reason.charAt(0).toUpperCase() + reason.slice(1);
