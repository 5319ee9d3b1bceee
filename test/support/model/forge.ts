import { covers, labelNames } from "../../../src/core/match.ts";
import type { Job } from "../../../src/core/types.ts";
import type { ForgeCapabilities, ForgeTarget, Listing } from "../../../src/forge/port.ts";
import type { ModelClock } from "./clock.ts";
import type { Random } from "./random.ts";

export const TARGET = "https://forge.test#instance";
const HOUR = 60 * 60_000;
/** A job whose runner is heard no more is given up by the forge after this time. */
const ZOMBIE = 10 * 60_000;

export interface ModelJob {
  id: number;
  handle?: string;
  labels: string[];
  /** Milliseconds that it takes. */
  duration: number;
  state: "queued" | "running" | "done";
  at: number;
  row?: number;
  /** How it came to its end: by its own runner, somebody else's, a user, or since its runner was gone. */
  outcome?: "finished" | "elsewhere" | "cancelled" | "lost";
}

export interface ModelRow {
  row: number;
  name: string;
  token: string;
  labels: string[];
  handle?: string;
  job?: ModelJob;
}

/** What goes wrong between the forge and whoever asks it; probabilities of each request. */
export interface ForgeFaults {
  down: boolean;
  refused: number;
  /** It is done, and the answer never comes. */
  lost: number;
  /** Nothing is done and nothing comes. */
  hangs: number;
  /** A list is not read to its end. */
  incomplete: number;
}

export const NO_FORGE_FAULTS: ForgeFaults = { down: false, refused: 0, lost: 0, hangs: 0, incomplete: 0 };

export interface ForgeKind {
  bindsJobs: boolean;
  listsQueue: boolean;
}

export type ModelForge = ReturnType<typeof createModelForge>;

/**
 * Jobs and runner rows of one forge, asked through a network that may fail. Jobs that are over are forgotten.
 */
export function createModelForge(options: {
  clock: ModelClock;
  random: Random;
  kind: ForgeKind;
  /** Told of every job that the orchestrator ends as failed. */
  onFail: (job: ModelJob) => void;
  /** Told of every row that the orchestrator deletes. */
  onDelete: (row: ModelRow) => void;
}) {
  const { clock, random, kind, onFail } = options;
  const jobs = new Map<number, ModelJob>();
  const rows = new Map<number, ModelRow>();
  const faults: ForgeFaults = { ...NO_FORGE_FAULTS };
  const counts = { pushed: 0, finished: 0, elsewhere: 0, cancelled: 0, lost: 0, registered: 0 };
  let serial = 1;

  const end = (job: ModelJob, outcome: NonNullable<ModelJob["outcome"]>) => {
    if (job.state === "done") return;
    job.state = "done";
    job.outcome = outcome;
    counts[outcome]++;
    jobs.delete(job.id);
    // The row of an ephemeral runner goes with its job.
    if (job.row !== undefined) rows.delete(job.row);
  };

  /** One request over the network: `work` happens at the forge, between the way there and the way back. */
  const ask = async <T>(signal: AbortSignal, work: () => T): Promise<T> => {
    signal.throwIfAborted();
    if (faults.down) {
      await clock.sleep(random.between(1, 50), signal);
      throw new Error("connect ECONNREFUSED");
    }
    if (random.happens(faults.hangs)) await clock.sleep(HOUR, signal);
    await clock.sleep(random.between(1, 150), signal);
    if (random.happens(faults.refused)) throw new Error("502 Bad Gateway");
    const answer = work();
    if (random.happens(faults.lost)) await clock.sleep(HOUR, signal);
    await clock.sleep(random.between(1, 150), signal);
    return answer;
  };

  const listing = <T>(items: T[]): Listing<T> => {
    if (!random.happens(faults.incomplete)) return { items, complete: true };
    return { items: items.filter(() => random.happens(0.5)), complete: false };
  };

  const target: ForgeTarget = {
    key: TARGET,
    url: "https://forge.test",
    scope: { kind: "instance" },
    capabilities: (signal) =>
      faults.down ? ask(signal, () => CAPABILITIES(kind)) : Promise.resolve(CAPABILITIES(kind)),
    refresh: () => undefined,
    jobs: (_, signal) => ask(signal, () => listing([...jobs.values()].map(shown))),
    runners: (signal) =>
      ask(signal, () =>
        listing(
          [...rows.values()].map(({ row, name }) => ({ target: TARGET, row, name, uuid: `uuid-${row}`, online: true })),
        ),
      ),
    register: ({ name, labels, handle }, signal) =>
      ask(signal, () => {
        const row = serial++;
        const token = `token-${row}`;
        const bound = handle === undefined ? {} : { handle };
        rows.set(row, { row, name, token, labels: [...labelNames(labels)], ...bound });
        counts.registered++;
        return { row, uuid: `uuid-${row}`, token, ...bound };
      }),
    failTask: ({ token, taskId }, signal) =>
      ask(signal, () => {
        const row = [...rows.values()].find((known) => known.token === token);
        const job = row?.job;
        if (job === undefined || job.id !== taskId) return { state: "over" };
        onFail(job);
        end(job, "lost");
        return { state: "failed" };
      }),
    deleteRunner: (row, signal) =>
      ask(signal, () => {
        const known = rows.get(row);
        if (known === undefined) return;
        options.onDelete(known);
        rows.delete(row);
        if (known.job !== undefined) abandon(known.job);
      }),
    registrationToken: () => Promise.reject(new Error("only images of the original ask for it")),
    disableRunner: (_, signal) => ask(signal, () => undefined),
    close: () => Promise.resolve(),
  };

  /** Nobody works on it any more; the forge finds out late. */
  const abandon = (job: ModelJob) => void clock.after(ZOMBIE, () => end(job, "lost"));

  return {
    jobs,
    rows,
    faults,
    counts,
    target,
    shown,
    abandon,
    push: (labels: string[], duration: number): ModelJob => {
      const id = serial++;
      const handle = kind.bindsJobs ? { handle: `handle-${id}` } : {};
      const job: ModelJob = { id, labels, duration, state: "queued", at: clock.now(), ...handle };
      jobs.set(id, job);
      counts.pushed++;
      return job;
    },
    cancel: (job: ModelJob) => end(job, "cancelled"),
    /** A runner of somebody else takes it, and ends it some time later. */
    poach: (job: ModelJob) => {
      if (job.state !== "queued") return;
      job.state = "running";
      clock.after(job.duration, () => end(job, "elsewhere"));
    },

    /** What an engine asks, with its own secret: undefined when there is nothing for it, `gone` when it is not known. */
    fetch: (token: string): ModelJob | "gone" | undefined => {
      const row = [...rows.values()].find((known) => known.token === token);
      if (row === undefined) return "gone";
      if (row.job !== undefined) return undefined;
      const job = [...jobs.values()].find(
        ({ state, labels, handle }) =>
          state === "queued" && covers(row.labels, labels) && (row.handle === undefined || row.handle === handle),
      );
      if (job === undefined) return undefined;
      row.job = job;
      job.state = "running";
      job.row = row.row;
      return job;
    },
    /** The last word of the runner of a job; says whether the forge still wanted it. */
    finish: (job: ModelJob): boolean => {
      const wanted = job.state === "running";
      end(job, "finished");
      return wanted;
    },
  };
}

const shown = (job: ModelJob): Omit<Job, "since" | "at"> => ({
  key: `${TARGET}/${job.id}/1`,
  target: TARGET,
  id: job.id,
  attempt: 1,
  name: `job ${job.id}`,
  labels: job.labels,
  status: job.state === "running" ? "running" : "queued",
  queuedAt: job.at,
  ...(job.handle === undefined ? {} : { handle: job.handle }),
  ...(job.row === undefined ? {} : { runnerRow: job.row }),
});

const CAPABILITIES = ({ bindsJobs, listsQueue }: ForgeKind): ForgeCapabilities => ({
  flavour: bindsJobs ? "forgejo" : "gitea",
  version: "1.0.0",
  listsQueue,
  queueNeedsLabels: false,
  listsRunners: true,
  deletesRunners: true,
  ephemeral: true,
  bindsJobs,
  disablesRunners: false,
  queueWebhooks: true,
  countsTakenAttempts: false,
  tellsOrigins: true,
  createsRunners: bindsJobs,
});
