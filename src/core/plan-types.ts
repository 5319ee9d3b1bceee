import type { Step } from "./steps.ts";
import type { Job, Pool, Runner, RunnerRow } from "./types.ts";

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
  /** What this forge can do (see forge/port.ts); the plan needs these two. */
  bindsJobs: boolean;
  listsQueue: boolean;
}

export interface PoolView {
  pool: Pool;
  paused: boolean;
  /** False while the pool's driver, image or forge cannot serve it at all; `detail` says why. */
  usable: boolean;
  detail?: string;
}

/** A sandbox found on the host that no record knows. */
export interface StraySandbox {
  driver: Pool["driver"];
  hex: string;
}

export interface HostCapacity {
  /** Memory that all sandboxes together may use. */
  memoryMib: number;
  vcpus: number;
}

/** `run` scales; `drain` creates nothing and ends what is idle; `detach` creates and ends nothing. */
export type Mode = "run" | "drain" | "detach";

export interface PlanInput {
  mode: Mode;
  pools: PoolView[];
  host: HostCapacity;
  runners: Runner[];
  forges: Record<string, ForgeView>;
  strays: { sandboxes: StraySandbox[]; rows: RunnerRow[] };
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

/** What the plan remembers between calls; plain data, replaced as a whole. */
export interface PlanMemory {
  pools: Record<string, { failures: number; until: number; error: string }>;
  /** Failed repeatable steps, by lane key. */
  retries: Record<string, { failures: number; until: number; error: string }>;
  /** Jobs that ready runners left alone, by job key. */
  unservable: Record<string, { strikes: string[]; until: number; rounds: number }>;
  /** Subjects that looked wrong, and the read count at which they did: acted on at the second read. */
  suspects: Record<string, number>;
  /** How long an avail runner has been matched to a waiting job: runner id to job key and since. */
  matches: Record<string, { job: string; since: number }>;
}

export const emptyMemory = (): PlanMemory => ({ pools: {}, retries: {}, unservable: {}, suspects: {}, matches: {} });

/** Why a job is not running yet; the only source for API, CLI and metrics. */
export type WaitCode =
  | "runner-ready"
  | "runner-starting"
  | "no-pool-matches"
  | "pool-at-max"
  | "host-full"
  | "backing-off"
  | "paused"
  | "pool-unusable"
  | "unservable"
  | "blocked"
  | "forge-frozen"
  | "draining";

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
  reasons: WaitReason[];
  memory: PlanMemory;
}
