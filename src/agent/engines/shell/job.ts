import type { Clock } from "../../../base/clock.ts";
import { describe, FireteactError } from "../../../base/errors.ts";
import { checkOut } from "./checkout.ts";
import { evaluateCondition, interpolate, resolve } from "./expressions.ts";
import { type JobContext, resolveVariables } from "./job-context.ts";
import type { JobLog } from "./job-log.ts";
import type { Masks } from "./masks.ts";
import { createProcessGroups, type ProcessGroups } from "./process.ts";
import type { JobResult, Reporter, StepReport } from "./reporter.ts";
import { runScript } from "./step.ts";
import { type StepDefinition, stepTitle, type Workflow } from "./workflow.ts";

/** Everything that the steps of one job share. */
export interface JobRun {
  workflow: Workflow;
  context: JobContext;
  log: JobLog;
  masks: Masks;
  reporter: Reporter;
  groups: ProcessGroups;
  clock: Clock;
  debug: boolean;
  /** Milliseconds that the job may take, whatever the workflow says. */
  limit: number;
  /** Aborted when the job is cancelled; the reason is a sentence for the log. */
  cancelled: AbortSignal;
  onFirstStep(): void;
}

export interface JobOutcome {
  result: JobResult;
  outputs: Record<string, string>;
}

const MINUTE = 60_000;
/** After a cancel or the job's limit: for steps that run always. */
const CLEAN_UP = MINUTE;

/** Runs the job's steps. Never rejects: what goes wrong is in the log and in the result. */
export async function runJob(run: Omit<JobRun, "groups">): Promise<JobOutcome> {
  const groups = createProcessGroups();
  const whole = { ...run, groups };
  try {
    return await runSteps(whole);
  } catch (error) {
    return fail(whole, error);
  } finally {
    groups.killAll();
  }
}

async function runSteps(run: JobRun): Promise<JobOutcome> {
  const { workflow, context, log, clock } = run;
  if (!evaluateCondition(workflow.job.if, context.scope())) {
    log.write("The job's condition is not met.");
    for (const step of run.reporter.steps) step.result = "skipped";
    return { result: "skipped", outputs: {} };
  }
  const ended = new AbortController();
  const minutes = minutesOf(workflow.job["timeout-minutes"], context);
  const limit = Math.min(minutes === undefined ? Infinity : minutes * MINUTE, run.limit);
  let timedOut = false;
  const timer = clock.after(limit, () => {
    timedOut = true;
    log.write(`::error::The job took longer than its limit of ${describeTime(limit)}.`);
    ended.abort();
  });
  const onCancel = (): void => {
    log.write(`::error::${String(run.cancelled.reason)}.`);
    ended.abort();
  };
  if (run.cancelled.aborted) onCancel();
  else run.cancelled.addEventListener("abort", onCancel, { once: true });
  let cleanUp: AbortSignal | undefined;
  let begun = false;
  for (const [index, step] of workflow.steps.entries()) {
    if (ended.signal.aborted) {
      context.status = "cancelled";
      cleanUp ??= AbortSignal.timeout(CLEAN_UP);
    }
    if (!begun) run.onFirstStep();
    begun = true;
    await runStep(run, step, index, cleanUp ?? ended.signal);
  }
  timer.cancel();
  run.cancelled.removeEventListener("abort", onCancel);
  const failed = context.status === "failure" || timedOut;
  const result = run.cancelled.aborted ? "cancelled" : failed ? "failure" : context.status;
  return { result, outputs: jobOutputs(run) };
}

/** One step from its condition to its result, which is in the report, the contexts and the job's status. */
async function runStep(run: JobRun, step: StepDefinition, index: number, jobSignal: AbortSignal): Promise<void> {
  const { context, log, reporter, clock } = run;
  const report = reporter.steps[index] ?? { logFrom: 0, logLines: 0 };
  begin(report, run);
  const id = step.id ?? `__${index}`;
  let outcome: JobResult = "success";
  let outputs: Record<string, string> = {};
  let tolerated = false;
  const limit = new AbortController();
  let timer = { cancel: (): void => undefined };
  try {
    const env = { ...context.env, ...resolveVariables(step.env, context) };
    if (evaluateCondition(step.if, context.scope(env))) {
      const scope = context.scope(env);
      tolerated = resolve(step["continue-on-error"] ?? false, scope) === true;
      const minutes = minutesOf(step["timeout-minutes"], context);
      if (minutes !== undefined) timer = clock.after(minutes * MINUTE, () => limit.abort());
      const title = step.name === undefined || step.name === null ? undefined : interpolate(String(step.name), scope);
      if (title !== undefined) log.write(`# ${title}`);
      const signal = AbortSignal.any([jobSignal, limit.signal]);
      const execute = step.run === undefined ? checkOut : runScript;
      outputs = await execute(run, step, index, env, signal);
      if (limit.signal.aborted) throw new FireteactError("STEP_LIMIT", `The step took longer than ${minutes} minutes.`);
      if (jobSignal.aborted) outcome = "cancelled";
    } else {
      outcome = "skipped";
    }
  } catch (error) {
    outcome = jobSignal.aborted ? "cancelled" : "failure";
    writeError(log, error);
  } finally {
    timer.cancel();
  }
  const conclusion = outcome === "failure" && tolerated ? "success" : outcome;
  context.steps[id] = { outcome, conclusion, outputs };
  if (conclusion === "failure") context.status = "failure";
  if (outcome === "failure") log.write(`${stepTitle(step, index)} failed${tolerated ? ", but the job goes on" : ""}.`);
  Object.assign(report, { result: conclusion, stoppedAt: clock.now(), logLines: log.length - report.logFrom });
  reporter.touch();
}

function begin(report: StepReport, { log, clock, reporter }: JobRun): void {
  Object.assign(report, { startedAt: clock.now(), logFrom: log.length });
  reporter.touch();
}

function jobOutputs({ workflow, context, masks, log }: JobRun): Record<string, string> {
  const scope = context.scope();
  const entries = Object.entries(workflow.job.outputs ?? {}).flatMap(([name, template]) => {
    const value = interpolate(String(template ?? ""), scope);
    if (masks.apply(value) !== value) {
      log.write(`::warning::The output ${name} is left out, since it may hold a secret.`);
      return [];
    }
    return [[name, value] as const];
  });
  return Object.fromEntries(entries);
}

function fail(run: JobRun, error: unknown): JobOutcome {
  writeError(run.log, error);
  for (const step of run.reporter.steps) step.result ??= "skipped";
  return { result: run.cancelled.aborted ? "cancelled" : "failure", outputs: {} };
}

export function writeError(log: JobLog, error: unknown): void {
  log.write(`::error::${describe(error)}`);
  if (error instanceof FireteactError && error.hint !== undefined) log.write(error.hint);
}

function minutesOf(value: unknown, context: JobContext): number | undefined {
  if (value === undefined || value === null) return undefined;
  const minutes = Number(resolve(value, context.scope()));
  if (!Number.isFinite(minutes) || minutes <= 0) {
    throw new FireteactError("WORKFLOW", `timeout-minutes: ${JSON.stringify(value)} is no number of minutes`);
  }
  return Math.min(minutes, 30 * 24 * 60);
}

const describeTime = (milliseconds: number): string =>
  milliseconds >= MINUTE
    ? `${Math.round(milliseconds / MINUTE)} minutes`
    : `${Math.round(milliseconds / 1_000)} seconds`;
