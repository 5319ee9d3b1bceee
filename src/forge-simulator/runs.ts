import { randomUUID } from "node:crypto";
import {
  type Account,
  type Conclusion,
  isDone,
  type Job,
  type Pull,
  type Repository,
  type Run,
  type Task,
} from "./records.ts";
import { deleteRunner } from "./runners.ts";
import { decide, parseWorkflow } from "./workflow.ts";
import { announce, scopeKey, scopesOf, type World } from "./world.ts";

export interface RunRequest {
  repository: Repository;
  actor: Account;
  yaml: string;
  /** File name of the workflow. */
  workflow: string;
  event: string;
  pull: Pull | undefined;
  payload: Record<string, unknown>;
  ref: string;
  sha: string;
  secrets: Record<string, string>;
  variables: Record<string, string>;
}

/** Makes a run with its jobs; those without needs are ready at once. */
export function startRun(world: World, request: RunRequest): Run {
  const definition = parseWorkflow(request.yaml);
  const { repository } = request;
  const now = world.clock.now();
  const run: Run = {
    id: world.nextId("run"),
    number: ++repository.runs,
    attempt: 1,
    repository,
    actor: request.actor,
    workflow: request.workflow,
    workflowName: definition.name ?? request.workflow,
    title: definition.name ?? request.workflow,
    event: request.event,
    pull: request.pull,
    // Runners get it as JSON, so it is kept as JSON has it.
    payload: JSON.parse(JSON.stringify(request.payload)) as Record<string, unknown>,
    ref: request.ref,
    sha: request.sha,
    secrets: request.secrets,
    variables: request.variables,
    jobs: [],
    createdAt: now,
  };
  run.jobs = definition.jobs.map((job) => ({
    ...job,
    id: world.nextId("job"),
    run,
    status: "blocked",
    attempt: 1,
    handle: randomUUID(),
    task: undefined,
    tasks: [],
    createdAt: now,
    updatedAt: now,
    startedAt: 0,
    stoppedAt: 0,
  }));
  world.runs.set(run.id, run);
  for (const job of run.jobs) world.jobs.set(job.id, job);
  announce(world, { kind: "run", run, action: "requested" });
  for (const job of run.jobs) if (job.needs.length > 0) announce(world, { kind: "job", job, action: "waiting" });
  releaseJobs(world, run);
  return run;
}

/** Makes a job ready for runners and moves the counters of every scope that may take it. */
export function makeReady(world: World, job: Job): void {
  job.status = "waiting";
  job.updatedAt = world.clock.now();
  world.ready.add(job);
  for (const scope of scopesOf(job.run.repository)) {
    world.counters.set(scopeKey(scope), (world.counters.get(scopeKey(scope)) ?? 0) + 1);
  }
  announce(world, { kind: "job", job, action: "queued" });
}

/** Ends a job and everything that follows from it. */
export function finishJob(world: World, job: Job, status: Conclusion): void {
  endJob(world, job, status);
  releaseJobs(world, job.run);
}

/** Ends a task from the server's side: cancel or a timer. */
export function stopTask(world: World, task: Task, status: Conclusion, by: NonNullable<Task["endedBy"]>): void {
  const now = world.clock.now();
  Object.assign(task, { status, endedBy: by, stoppedAt: now, updatedAt: now });
  world.ready.delete(task.job);
  if (task.runner.ephemeral && world.behaviours.rowGoneAtCancel) deleteRunner(world, task.runner);
}

/** What a person's cancel does: everything not done is cancelled at once, and only then followed up. */
export function cancelJobs(world: World, jobs: Job[]): void {
  const open = jobs.filter((job) => !isDone(job.status));
  for (const job of open) {
    if (job.task?.status === "running") stopTask(world, job.task, "cancelled", "cancel");
    job.status = "cancelled";
    world.ready.delete(job);
  }
  for (const job of open) endJob(world, job, "cancelled");
  for (const run of new Set(open.map((job) => job.run))) releaseJobs(world, run);
}

/** A new attempt of a finished job, and of the finished jobs that depend on it. */
export function rerunJob(world: World, job: Job): void {
  const again = new Set([job]);
  for (const other of job.run.jobs) if (ancestors(other).includes(job)) again.add(other);
  job.run.attempt += 1;
  for (const one of again) {
    Object.assign(one, { status: "blocked", task: undefined, startedAt: 0, stoppedAt: 0, handle: randomUUID() });
    one.attempt += 1;
    if (one !== job) announce(world, { kind: "job", job: one, action: "waiting" });
  }
  releaseJobs(world, job.run);
}

export const runIsDone = (run: Run): boolean => run.jobs.every((job) => isDone(job.status));

/** The run's status put together from its jobs. */
export function runStatus(run: Run): Job["status"] {
  const has = (status: Job["status"]) => run.jobs.some((job) => job.status === status);
  if (runIsDone(run)) {
    if (has("cancelled")) return "cancelled";
    if (has("failure")) return "failure";
    return has("success") ? "success" : "skipped";
  }
  if (has("running")) return "running";
  return has("waiting") ? "waiting" : "blocked";
}

function endJob(world: World, job: Job, status: Conclusion): void {
  const now = world.clock.now();
  job.status = status;
  job.updatedAt = now;
  job.stoppedAt = now;
  world.ready.delete(job);
  for (let n = 0; n < world.behaviours.completedTimes; n++) announce(world, { kind: "job", job, action: "completed" });
  if (runIsDone(job.run)) announce(world, { kind: "run", run: job.run, action: "completed" });
}

/** Releases or skips every blocked job whose needs are done, until nothing changes. */
function releaseJobs(world: World, run: Run): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const job of run.jobs) {
      if (job.status !== "blocked") continue;
      const needs = directNeeds(job).map((need) => need.status);
      if (!needs.every(isDone)) continue;
      changed = true;
      const all = ancestors(job).map((need) => need.status);
      if (decide(job.condition, needs, all) === "skip") endJob(world, job, "skipped");
      else makeReady(world, job);
    }
  }
}

const directNeeds = (job: Job): Job[] => job.run.jobs.filter((other) => job.needs.includes(other.key));

function ancestors(job: Job, seen = new Set<Job>()): Job[] {
  for (const need of directNeeds(job)) {
    if (seen.has(need)) continue;
    seen.add(need);
    ancestors(need, seen);
  }
  return [...seen];
}
