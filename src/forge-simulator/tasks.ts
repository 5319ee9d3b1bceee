import { setTimeout as sleep } from "node:timers/promises";
import { Result } from "../../gen/runner/v1/runner_pb.js";
import type { Conclusion, Job, LogLine, Runner, Task } from "./records.ts";
import { deleteRunner } from "./runners.ts";
import { finishJob, makeReady, stopTask } from "./runs.ts";
import { announce, covers, newToken, scopeKey, type World } from "./world.ts";

const OUTPUT_KEY_BYTES = 255;
const OUTPUT_VALUE_BYTES = 1024 * 1024;

/** A refusal of the server towards a runner; the RPC layer gives it the code of its flavour. */
export class TaskRefusal extends Error {
  readonly kind: "internal" | "already_exists";

  constructor(kind: "internal" | "already_exists", message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface Fetched {
  task: Task | undefined;
  /** The runner sends it back next time; 0 makes it look again. */
  version: number;
}

/** Tasks version of a scope; never 0, which runners take for "look again". */
export function tasksVersion(world: World, runner: Runner): number {
  const key = scopeKey(runner.scope);
  const version = world.counters.get(key) ?? 1;
  world.counters.set(key, version);
  return version;
}

export interface FetchRequest {
  /** The runner's tasks version. */
  version: number;
  requestKey?: string | undefined;
  /** Only the job attempt with this handle will do (Forgejo). */
  handle?: string | undefined;
}

/** One FetchTask: picks a job only when the runner's version is not the newest. */
export async function fetchTask(world: World, runner: Runner, request: FetchRequest): Promise<Fetched> {
  const { version, requestKey } = request;
  const replayed = requestKey === undefined ? undefined : replay(world, runner, requestKey);
  if (replayed !== undefined) return { task: replayed, version: 0 };
  const newest = tasksVersion(world, runner);
  if (version === newest || runner.disabled || !mayPick(world, runner)) return { task: undefined, version: newest };
  const task = await pick(world, runner, request);
  return { task, version: tasksVersion(world, runner) };
}

/** Undoes a pick whose caller went away before it was answered. */
export function releaseTask(world: World, task: Task): void {
  world.tasks.delete(task.id);
  task.job.tasks.pop();
  task.runner.tasks.pop();
  task.job.task = undefined;
  task.job.startedAt = 0;
  makeReady(world, task.job);
}

/** Needs and their outputs, as the task of a job carries them. */
export function taskNeeds(job: Job): Record<string, { outputs: Record<string, string>; result: Result }> {
  const needed = job.run.jobs.filter((other) => job.needs.includes(other.key));
  return Object.fromEntries(
    needed.map((need) => [
      need.key,
      { outputs: Object.fromEntries(need.task?.outputs ?? []), result: resultOf(need.status as Conclusion) },
    ]),
  );
}

export interface StateReport {
  id: number;
  result: Result;
  stoppedAt: number;
  steps: { id: number; result: number; startedAt: number; stoppedAt: number; logIndex: number; logLength: number }[];
}

/** One UpdateTask. A final result ends the job and, in the same step, deletes an ephemeral row. */
export function updateTask(
  world: World,
  runner: Runner,
  report: StateReport,
  outputs: Record<string, string>,
): { result: Result; sent: string[] } {
  const task = ownTask(world, runner, report.id, "UpdateTask");
  if (task.status !== "running") {
    task.repeats += 1;
    if (task.job.task === task) announce(world, { kind: "job", job: task.job, action: "completed" });
    return { result: resultOf(task.status), sent: [...task.outputs.keys()] };
  }
  task.updatedAt = world.clock.now();
  for (const { id, ...state } of report.steps) {
    const step = task.steps[id];
    if (step !== undefined) Object.assign(step, state);
  }
  for (const [key, value] of Object.entries(outputs)) keepOutput(task, key, value);
  const conclusion = CONCLUSIONS[report.result];
  if (conclusion !== undefined) {
    Object.assign(task, { status: conclusion, endedBy: "runner", stoppedAt: report.stoppedAt || world.clock.now() });
    if (runner.ephemeral) deleteRunner(world, runner);
    finishJob(world, task.job, conclusion);
  }
  return { result: report.result, sent: [...task.outputs.keys()] };
}

/** One UpdateLog; returns the length acknowledged. Overlap is dropped, a gap is not stored. */
export function updateLog(
  world: World,
  runner: Runner,
  request: { taskId: number; index: number; rows: LogLine[]; noMore: boolean },
): number {
  const task = ownTask(world, runner, request.taskId, "UpdateLog");
  const { index, rows } = request;
  const length = task.log.length;
  const stores = index <= length && length < index + rows.length;
  if (!stores) {
    if (request.noMore && rows.length === 0 && world.traits.closesLogWithoutRows) task.logClosed = true;
    return length;
  }
  if (task.logClosed) throw new TaskRefusal("already_exists", "log file has been archived");
  task.log.push(...rows.slice(length - index));
  task.updatedAt = world.clock.now();
  if (request.noMore) task.logClosed = true;
  return task.log.length;
}

export interface ServerTimers {
  /** No report for so long: failed. */
  zombieMs: number;
  /** Running for so long: failed. */
  endlessMs: number;
  /** Not taken for so long: cancelled. */
  abandonedMs: number;
}

/** What the server's cron does; a real forge looks every few minutes. */
export function runServerTimers(world: World, timers: ServerTimers): void {
  const now = world.clock.now();
  for (const task of world.tasks.values()) {
    if (task.status !== "running") continue;
    const zombie = now - task.updatedAt >= timers.zombieMs;
    if (!zombie && now - task.startedAt < timers.endlessMs) continue;
    stopTask(world, task, "failure", zombie ? "zombie" : "endless");
    finishJob(world, task.job, "failure");
  }
  for (const job of world.jobs.values()) {
    const open = job.status === "waiting" || job.status === "blocked";
    if (open && now - job.updatedAt >= timers.abandonedMs) finishJob(world, job, "cancelled");
  }
}

const CONCLUSIONS: Partial<Record<Result, Conclusion>> = {
  [Result.SUCCESS]: "success",
  [Result.FAILURE]: "failure",
  [Result.CANCELLED]: "cancelled",
  [Result.SKIPPED]: "skipped",
};

const RESULTS: Record<Conclusion, Result> = {
  success: Result.SUCCESS,
  failure: Result.FAILURE,
  cancelled: Result.CANCELLED,
  skipped: Result.SKIPPED,
};

const resultOf = (status: Conclusion): Result => RESULTS[status];

/** The same fetch once more: the same task with a new job token. */
function replay(world: World, runner: Runner, requestKey: string): Task | undefined {
  if (!world.traits.requestKeys) return undefined;
  const task = runner.tasks.find((one) => one.requestKey === requestKey && one.status === "running");
  if (task !== undefined) task.token = newToken();
  return task;
}

/** An ephemeral runner gets one task in its life. */
function mayPick(world: World, runner: Runner): boolean {
  if (!runner.ephemeral) return true;
  if (runner.tasks.length === 0) return true;
  if (world.traits.flavour === "forgejo" || runner.tasks.some((task) => task.status === "running")) return false;
  deleteRunner(world, runner);
  throw new TaskRefusal("internal", "pick task: runner has been removed");
}

async function pick(world: World, runner: Runner, request: FetchRequest): Promise<Task | undefined> {
  for (;;) {
    const job = firstMatch(world, runner, request.handle);
    if (job === undefined) return undefined;
    if (world.behaviours.oldRace) await sleep(world.behaviours.raceWindowMs);
    if (job.status === "waiting" && runner.deletedAt === 0) return take(world, runner, job, request.requestKey);
    if (!world.traits.retriesPick) return undefined;
  }
}

function firstMatch(world: World, runner: Runner, handle: string | undefined): Job | undefined {
  let first: Job | undefined;
  for (const job of world.ready) {
    const { repository } = job.run;
    if (!repository.actions || !covers(runner.scope, repository)) continue;
    if (handle !== undefined && job.handle !== handle) continue;
    if (!job.runsOn.every((label) => runner.labels.includes(label))) continue;
    if (
      first === undefined ||
      job.updatedAt < first.updatedAt ||
      (job.updatedAt === first.updatedAt && job.id < first.id)
    )
      first = job;
  }
  return first;
}

function take(world: World, runner: Runner, job: Job, requestKey: string | undefined): Task {
  const now = world.clock.now();
  const starts = job.run.jobs.every((other) => other.task === undefined);
  const task: Task = {
    id: world.nextId("task"),
    job,
    attempt: job.attempt,
    runner,
    status: "running",
    token: newToken(),
    requestKey,
    startedAt: now,
    stoppedAt: 0,
    updatedAt: now,
    steps: job.stepNames.map((name) => ({ name, result: 0, startedAt: 0, stoppedAt: 0, logIndex: 0, logLength: 0 })),
    log: [],
    logClosed: false,
    outputs: new Map(),
    endedBy: undefined,
    repeats: 0,
  };
  world.tasks.set(task.id, task);
  job.tasks.push(task);
  runner.tasks.push(task);
  world.ready.delete(job);
  Object.assign(job, { status: "running", task, startedAt: now, updatedAt: now });
  if (starts) announce(world, { kind: "run", run: job.run, action: "in_progress" });
  announce(world, { kind: "job", job, action: "in_progress" });
  return task;
}

function ownTask(world: World, runner: Runner, id: number, call: "UpdateTask" | "UpdateLog"): Task {
  const task = world.tasks.get(id);
  const updates = call === "UpdateTask";
  const missing = updates ? "update task" : `get task: task with id ${id}`;
  if (task === undefined) throw new TaskRefusal("internal", `${missing}: resource does not exist`);
  if (task.runner !== runner)
    throw new TaskRefusal("internal", `${updates ? "update task: " : ""}invalid runner for task`);
  return task;
}

/** The first write of a key wins; what is too large is ignored. */
function keepOutput(task: Task, key: string, value: string): void {
  if (Buffer.byteLength(key) > OUTPUT_KEY_BYTES || Buffer.byteLength(value) > OUTPUT_VALUE_BYTES) return;
  if (!task.outputs.has(key)) task.outputs.set(key, value);
}
