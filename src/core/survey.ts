import { labelName } from "./match.ts";
import type { ForgeView, PlanInput, PoolView } from "./plan-types.ts";
import { isBusy } from "./runner.ts";
import type { Job, Runner } from "./types.ts";

/** A job that waits, seen at one target or at several (an instance and one of its organisations, say). */
export interface WaitingJob {
  /** Of its first sighting; names the job in memory and reasons. */
  key: string;
  job: Job;
  /** How each target that can be trusted now shows it. */
  sightings: Map<string, Job>;
  targets: ReadonlySet<string>;
  labels: string[];
}

/** The input of a plan, indexed once so that every question about it costs little. */
export interface Survey {
  input: PlanInput;
  pools: ReadonlyMap<string, PoolView>;
  /** What wants a runner, or will, oldest first. */
  waiting: WaitingJob[];
  view(target: string): ForgeView | undefined;
  /** Whether what the forge said last can be relied on. */
  isTrusted(target: string): boolean;
  /** Whether the agent, or the forge by the runner's id, says that the runner holds a job. */
  holdsJob(runner: Runner): boolean;
  /** Whether the forge's last list of rows has this one. */
  hasRow(target: string, row: number): boolean;
  /** Whether the queue shows the row with a job. */
  hasRunningJob(target: string, row: number): boolean;
  /** Whether the queue shows the handle as waiting. */
  isWaiting(target: string, handle: string): boolean;
  /** Whether the queue shows the job of this key as waiting. */
  isQueued(key: string): boolean;
}

export function surveyOf(input: PlanInput): Survey {
  const runningRows = new Set<string>();
  const handles = new Set<string>();
  const queued = new Set<string>();
  for (const job of jobsOf(input)) {
    if (job.status !== "running") {
      queued.add(job.key);
      if (job.handle !== undefined) handles.add(`${job.target} ${job.handle}`);
    } else if (job.runnerRow !== undefined) {
      runningRows.add(`${job.target} ${job.runnerRow}`);
    }
  }
  const view = (target: string) => input.forges[target];
  const rows = new Map<string, Set<number>>();
  const rowsAt = (target: string): Set<number> => {
    const known = rows.get(target) ?? new Set(view(target)?.rows?.map((row) => row.row));
    rows.set(target, known);
    return known;
  };
  const hasRunningJob = (target: string, row: number) => runningRows.has(`${target} ${row}`);
  const isTrusted = (target: string) => view(target)?.health === "ok";
  return {
    input,
    pools: new Map(input.pools.map((pool) => [pool.pool.name, pool])),
    waiting: waitingJobs(input, isTrusted),
    view,
    isTrusted,
    holdsJob: (runner) => {
      const { registration } = runner;
      return isBusy(runner) || (registration.phase === "active" && hasRunningJob(runner.target, registration.row));
    },
    hasRow: (target, row) => rowsAt(target).has(row),
    hasRunningJob,
    isQueued: (key) => queued.has(key),
    isWaiting: (target, handle) => handles.has(`${target} ${handle}`),
  };
}

function jobsOf(input: PlanInput): Job[] {
  return Object.values(input.forges).flatMap((view) => view.jobs);
}

function waitingJobs(input: PlanInput, isTrusted: (target: string) => boolean): WaitingJob[] {
  const jobs = new Map<string, WaitingJob>();
  const running = new Set<string>();
  /** By job: a target that was read a while ago may still show an attempt that is over. */
  const latest = new Map<string, number>();
  for (const job of jobsOf(input)) {
    const name = nameOf(job);
    const identity = `${name} ${job.attempt}`;
    latest.set(name, Math.max(job.attempt, latest.get(name) ?? 0));
    if (job.status === "running") running.add(identity);
    const sightings = jobs.get(identity)?.sightings ?? new Map<string, Job>();
    if (isTrusted(job.target)) sightings.set(job.target, job);
    if (!jobs.has(identity)) {
      jobs.set(identity, { key: job.key, job, sightings, targets: new Set(), labels: job.labels.map(labelName) });
    }
  }
  const waiting: WaitingJob[] = [];
  for (const [identity, job] of jobs) {
    if (running.has(identity) || latest.get(nameOf(job.job)) !== job.job.attempt) continue;
    waiting.push({ ...job, targets: new Set(job.sightings.keys()) });
  }
  return waiting.sort((a, b) => age(a.job) - age(b.job) || a.job.id - b.job.id);
}

/** The same job has another key at another scope of the same forge. */
function nameOf(job: Job): string {
  const forge = job.target.split("#", 1)[0] ?? job.target;
  return `${forge} ${job.id}`;
}

const age = (job: Job): number => job.queuedAt ?? job.at;
