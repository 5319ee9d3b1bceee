import type { Fleet } from "./fleet.ts";
import type { Step } from "./steps.ts";
import type { Job, Pool, Runner, RunnerRow } from "./types.ts";

/** So many reads after something was noted, one of them began after it. */
export const STALE_READS = 2;

/** What the forge said last about one target. */
export interface ForgeView {
  /** `frozen`: the last answer is too old or was an error; scaling of its pools stands still. */
  health: "ok" | "frozen";
  /** Why it is frozen, one line. */
  reason?: string;
  /** Runnable and running jobs; blocked ones where the forge tells. */
  jobs: Job[];
  /** Counts the successful reads of the queue, so that "gone on two reads" can be told. */
  jobsRead: number;
  /** All rows at the target that carry this host's id; undefined until first read. */
  rows?: RunnerRow[];
  rowsRead: number;
  /** Uptime at which the read began that brought them, and before them the queue. */
  rowsSince?: number;
  /** Rows that other hosts of ours made, as far as they are known. */
  others?: OtherRow[];
  /** When the last reading of everything that this forge lists began and ended, uptimes. */
  whole?: { began: number; ended: number };
  /** What this forge can do (see forge/port.ts); the plan needs these. */
  bindsJobs: boolean;
  listsQueue: boolean;
  listsRunners: boolean;
}

/** A runner of another host, for reckoning with only: it is never touched. */
export interface OtherRow extends RunnerRow {
  /** Its name without the hex: the same at pools of the same configuration. */
  prefix: string;
  /** Uptime at which we saw it first. */
  since: number;
}

export interface PoolView {
  pool: Pool;
  paused: boolean;
  /** False while the pool's driver, image or forge cannot serve it at all; `detail` says why. */
  usable: boolean;
  /** Names what its runners are made from now: image, engine, configuration. Absent while that is not known. */
  revision?: string;
  detail?: string;
}

/** A sandbox found on the host that no record knows. */
export interface StraySandbox {
  driver: Pool["driver"];
  hex: string;
  state: "running" | "exited" | "partial";
  /** Name of the pool that it was made for. */
  pool: string;
}

export interface HostCapacity {
  /** Memory that all sandboxes together may use. */
  memoryMib: number;
  vcpus: number;
  /** What all scratch disks together may grow to; below zero, nothing that writes may be made. Absent: no bound. */
  disk?: { mib: number; detail: string };
  /** How many guests the network has addresses for. Absent: no bound. */
  addresses?: number;
}

/** `run` scales; `drain` creates nothing and ends what is idle; `detach` creates and ends nothing. */
export type Mode = "run" | "drain" | "detach";

export interface PlanInput {
  mode: Mode;
  pools: PoolView[];
  host: HostCapacity;
  fleet: Fleet;
  runners: Runner[];
  forges: Record<string, ForgeView>;
  /** What carries this host's id and belongs to no record; `read` counts the lists of sandboxes. */
  strays: { sandboxes: StraySandbox[]; read: number; rows: RunnerRow[] };
  /** Lane keys of the steps that are running. */
  inFlight: ReadonlySet<string>;
  memory: PlanMemory;
  /** Uptime in milliseconds, for deadlines. */
  now: number;
  /** Wall clock in Unix milliseconds, only copied into records. */
  wall: number;
  /** Hexes for new runners, made outside since the plan is pure. At least one per runner it may create. */
  freshHex: () => string;
}

/** Failures in a row, and the uptime until which nothing is tried again. */
export interface Backoff {
  failures: number;
  since: number;
  until: number;
  error: string;
}

/** What the plan remembers between calls; plain data, replaced as a whole. All times are uptimes. */
export interface PlanMemory {
  /** Pools whose last runners could not be made. */
  pools: Record<string, Backoff>;
  /** Failed repeatable steps, by `retryKey`. */
  retries: Record<string, Backoff>;
  /** Jobs that ready runners left alone, by job key: which runners, and until when it counts as no demand. */
  unservable: Record<string, { strikes: string[]; until: number; rounds: number }>;
  /** Subjects that looked wrong, and the read count at which they did: acted on at the second read. */
  suspects: Record<string, number>;
  /** How long an avail runner has been matched to a waiting job: runner id to job key and since. */
  matches: Record<string, { job: string; since: number }>;
  /** Jobs that runners took although the forge's queue may still show them: runner id to job and read count. */
  picks: Record<string, { job: string; target: string; read: number }>;
  /** When a runner was last asked to drain. */
  asked: Record<string, number>;
}

export const emptyMemory = (): PlanMemory => ({
  pools: {},
  retries: {},
  unservable: {},
  suspects: {},
  matches: {},
  picks: {},
  asked: {},
});

/** Why a job is not running yet; the only source for API, CLI and metrics. */
export const WAIT_CODES = [
  "runner-ready",
  "runner-starting",
  "other-host-first",
  "no-pool-matches",
  "untrusted-repository",
  "untrusted-event",
  "untrusted-branch",
  "untrusted-fork",
  "origin-unknown",
  "pool-at-max",
  "host-full",
  "backing-off",
  "paused",
  "pool-unusable",
  "unservable",
  "blocked",
  "forge-frozen",
  "draining",
] as const;
export type WaitCode = (typeof WAIT_CODES)[number];

export interface WaitReason {
  job: Job;
  code: WaitCode;
  /** One sentence for people. */
  detail: string;
  pool?: string;
  runner?: string;
}

export interface PlanOutput {
  steps: Step[];
  /** Uptime at which the plan must run again although nothing happened. */
  wakeAt?: number;
  /** Targets to be read again at once, by a reading that begins no earlier than this uptime. */
  readAgain: Record<string, number>;
  reasons: WaitReason[];
  /** Targets whose rows are to be read with the next read of the queue: one of them may have gone. */
  rowsWanted: string[];
  memory: PlanMemory;
}
