import type { Conclusion, Job, JobStatus, LogLine, Run, Runner, Task } from "./records.ts";
import { isDone } from "./records.ts";
import { runIsDone } from "./runs.ts";
import type { World } from "./world.ts";

/** One attempt of a job, as tests look at it. */
export interface AttemptView {
  task: number;
  attempt: number;
  runner: { id: number; name: string };
  status: Task["status"];
  endedBy: Task["endedBy"];
  /** Final updates sent after the end. */
  repeats: number;
  startedAt: number;
  stoppedAt: number;
  outputs: Record<string, string>;
  log: readonly LogLine[];
  logClosed: boolean;
}

export interface JobView {
  id: number;
  run: number;
  key: string;
  name: string;
  repository: string;
  runsOn: string[];
  status: JobStatus;
  attempt: number;
  handle: string;
  createdAt: number;
  startedAt: number;
  stoppedAt: number;
  /** Every task that the job ever had, oldest first. */
  attempts: AttemptView[];
}

export interface RunnerView {
  id: number;
  uuid: string;
  name: string;
  labels: string[];
  scope: { ownerId: number; repositoryId: number };
  ephemeral: boolean;
  disabled: boolean;
  deleted: boolean;
  lastOnline: number;
  /** Ids of the tasks that it took. */
  tasks: number[];
}

export interface RunHandle {
  readonly id: number;
  readonly number: number;
  readonly sha: string;
  job(key: string): JobView;
  jobs(): JobView[];
  /** Resolves with the conclusions by job key once all jobs are done; rejects with the signal's reason. */
  finished(signal?: AbortSignal): Promise<Record<string, Conclusion>>;
}

export function viewJob(job: Job): JobView {
  const { id, key, name, runsOn, status, attempt, handle, createdAt, startedAt, stoppedAt, run } = job;
  const shared = { id, key, name, runsOn, status, attempt, handle, createdAt, startedAt, stoppedAt };
  return { ...shared, run: run.id, repository: run.repository.fullName, attempts: job.tasks.map(viewTask) };
}

export function viewRunner(runner: Runner): RunnerView {
  const { id, uuid, name, labels, scope, ephemeral, disabled, lastOnline, deletedAt } = runner;
  const tasks = runner.tasks.map((task) => task.id);
  return { id, uuid, name, labels, scope, ephemeral, disabled, lastOnline, deleted: deletedAt !== 0, tasks };
}

export function runHandle(world: World, run: Run): RunHandle {
  return {
    id: run.id,
    number: run.number,
    sha: run.sha,
    job: (key) => {
      const job = run.jobs.find((candidate) => candidate.key === key);
      if (job === undefined) throw new Error(`the run has no job "${key}"`);
      return viewJob(job);
    },
    jobs: () => run.jobs.map((job) => viewJob(job)),
    finished: async (signal) => {
      await untilDone(world, run, signal);
      return Object.fromEntries(run.jobs.flatMap((job) => (isDone(job.status) ? [[job.key, job.status]] : [])));
    },
  };
}

function untilDone(world: World, run: Run, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const check = () => {
    if (runIsDone(run)) resolve();
  };
  const abort = () => reject(signal?.reason);
  world.listeners.add(check);
  if (signal?.aborted === true) abort();
  signal?.addEventListener("abort", abort, { once: true });
  check();
  return promise.finally(() => {
    world.listeners.delete(check);
    signal?.removeEventListener("abort", abort);
  });
}

function viewTask(task: Task): AttemptView {
  const { id, attempt, runner, status, endedBy, repeats, startedAt, stoppedAt, outputs, log, logClosed } = task;
  return {
    task: id,
    attempt,
    runner: { id: runner.id, name: runner.name },
    status,
    endedBy,
    repeats,
    startedAt,
    stoppedAt,
    outputs: Object.fromEntries(outputs),
    log,
    logClosed,
  };
}
