import type { JobOrigin, TrustPolicy } from "../base/trust.ts";

/**
 * The words of the program. Plain data: every type here can be stored, compared and printed.
 * Times named `at` are Unix milliseconds (for people); times named `since`, `until` or `now` are milliseconds of uptime
 * (for deadlines; see base/clock.ts).
 */

export type DriverName = "firecracker" | "qemu" | "native" | "fake";
export type EngineName = "gitea-runner" | "forgejo-runner" | "shell";

/** The way of a job, in order; the same in records, metrics, spans and the UI. */
export const PHASES = [
  "queued",
  "observed",
  "registered",
  "started",
  "ready",
  "assigned",
  "first_step",
  "finished",
  "destroyed",
] as const;
export type Phase = (typeof PHASES)[number];
/** When each phase was reached, Unix milliseconds. */
export type Timeline = Partial<Record<Phase, number>>;

/** The part of a forge at which runners are registered and whose jobs they may take. */
export type ForgeScope =
  | { kind: "instance" }
  | { kind: "org"; owner: string }
  | { kind: "user" }
  | { kind: "repo"; owner: string; repo: string }
  /** Named repositories, each a scope of its own for registrations; `owner/*` means all of an owner's. */
  | { kind: "trusted"; repositories: string[] };

/** All limits are milliseconds; each is visible in the record of the runner it ended. */
export interface Limits {
  /** From the start of the sandbox to the agent's first word. */
  boot: number;
  /** From the hand-over of the credentials to the engine listening for a job. */
  ready: number;
  /** How long a runner above the pool's minimum may wait without a job. */
  idle: number;
  /** What the engine itself allows a job. */
  engine: number;
  /** What the orchestrator allows a job, a little more than the engine. */
  job: number;
  /** A runner's life, from its creation; one that holds a job by then is held to `job` instead. */
  lifetime: number;
}

export interface Pool {
  name: string;
  /** Position in the configuration: decides between pools that fit a job equally well. */
  order: number;
  /** Label names as the forge matches them: exact case, without `:host`. */
  labels: string[];
  minRunners: number;
  maxRunners: number;
  minIdle: number;
  driver: DriverName;
  engine: EngineName;
  /** See `Runner`. */
  mute?: true;
  /** The jobs it serves, each by a runner registered at the job's own repository. Absent: every job of the target. */
  trust?: TrustPolicy;
  /** Key of the `ForgeTarget` at which its runners are registered. */
  target: string;
  /** Prefix of runner names in the forge. */
  prefix: string;
  memoryMib: number;
  vcpus: number;
  /** What a runner's scratch disk may grow to; 0 for drivers that make none. */
  diskMib: number;
  limits: Limits;
}

/** A job as the forge's queue shows it. */
export interface Job {
  /** `<target>/<forge's job id>/<attempt>`: unique over all forges. */
  key: string;
  target: string;
  id: number;
  attempt: number;
  /** Names this attempt for a runner that is bound to it (Forgejo 15 and newer). */
  handle?: string;
  /** `owner/name`, where the forge says it. */
  repository?: string;
  /** The forge's id of its repository and its run, where the forge says them. */
  repositoryId?: number;
  run?: number;
  /** What started it, where that was asked for. */
  origin?: JobOrigin;
  name: string;
  /** `runs-on`, empty when the job names none. */
  labels: string[];
  status: "queued" | "blocked" | "running";
  /** The forge's id of the runner that has it. */
  runnerRow?: number;
  url?: string;
  /** When the forge says it was queued. */
  queuedAt?: number;
  /** When we first saw it runnable: uptime and wall clock. */
  since: number;
  at: number;
}

/** A runner as the forge lists it. */
export interface RunnerRow {
  target: string;
  row: number;
  name: string;
  uuid?: string;
  online: boolean;
  ephemeral?: boolean;
  /** The forge's word that it works just now; it may be behind by seconds. */
  busy?: boolean;
  /** The job attempt it is bound to, where the forge keeps that with the row. */
  handle?: string;
  /** The repository that it belongs to, where that is known. */
  repository?: string;
}

export type RegistrationState =
  | { phase: "none" }
  /** Asked for; whether a row exists is not known. It would carry the runner's name. */
  | { phase: "pending"; since: number }
  | { phase: "active"; row: number; uuid: string; since: number }
  /** The forge confirmed that the row does not exist. */
  | { phase: "gone" };

export interface SandboxExit {
  code: number | null;
  signal: string | null;
  /** What ended it, where that is known: a limit, the guest, the host. */
  reason?: string;
  /** It ended while no orchestrator was there to hear its agent's last words. */
  unwatched?: boolean;
  at: number;
}

/** What a sandbox took of its host, where that is accounted. */
export interface SandboxUsage {
  memoryPeakBytes?: number;
  /** Processor time. */
  cpuMs: number;
}

export type SandboxState =
  | { phase: "none" }
  | { phase: "starting"; since: number }
  | { phase: "running"; since: number }
  | { phase: "exited"; exit: SandboxExit; since: number }
  /** Nothing of it is left on the host. */
  | { phase: "gone" };

/** What the agent inside said last; a claim, never a proof. */
export type AgentState =
  | { phase: "silent" }
  /** The agent is there and waits for credentials. */
  | { phase: "up"; since: number }
  /** It has credentials and starts the engine. */
  | { phase: "starting"; since: number }
  /** The engine asks the forge for a job. */
  | { phase: "listening"; since: number }
  /** The engine was asked to take no more jobs. */
  | { phase: "draining"; since: number }
  /** The engine holds no job and will take none. */
  | { phase: "drained"; since: number }
  | { phase: "busy"; since: number; job: ClaimedJob }
  /** The engine ended; without `job` it never had one. */
  | { phase: "finished"; since: number; job?: ClaimedJob; result?: JobResult; code?: number };

export type JobResult = "success" | "failure" | "cancelled" | "skipped";

/** What the forge knows of a job whose runner ended under it. */
export type JobOutcome =
  /** It was told that the job failed, and why. */
  | { state: "failed" }
  /** It had ended the job before it could be told; without `result` it has forgotten the runner, as after a job's end. */
  | { state: "over"; result?: JobResult }
  /** It could not be told: the job runs on there until the forge's own timer ends it. */
  | { state: "left"; detail: string };

/** What the agent says about the job it runs. */
export interface ClaimedJob {
  taskId?: number;
  name?: string;
  repository?: string;
  runId?: string;
}

/** Why a runner ended or has to end. */
export type EndReason =
  | "finished"
  | "register-failed"
  | "boot-failed"
  | "boot-timeout"
  | "ready-timeout"
  | "idle-timeout"
  | "job-timeout"
  | "lifetime"
  | "engine-failed"
  | "sandbox-exited"
  | "cancelled-by-forge"
  | "scale-down"
  | "job-gone"
  | "left-alone"
  | "forced"
  | "shutdown"
  | "outdated"
  | "orphaned";

export interface Ending {
  reason: EndReason;
  /** One line with the cause, for people. */
  detail: string;
  since: number;
}

/** Our record: joins at most one registration and at most one sandbox; it never serves a second job. */
export interface Runner {
  /** 24 hexadecimal digits; also the sandbox's id. */
  hex: string;
  /** `<pool>-<hex>` */
  id: string;
  /** Name in the forge. */
  name: string;
  pool: string;
  driver: DriverName;
  target: string;
  labels: string[];
  memoryMib: number;
  vcpus: number;
  diskMib?: number;
  limits: Limits;
  /**
   * Its agent is the original's, which speaks no channel: the registration is in the sandbox before it starts, and the
   * forge and the sandbox's end tell how it goes (see hearsay.ts).
   */
  mute?: true;
  /** What it was made from, as its pool said then. */
  revision?: string;
  /** The job it was created for, or was matched to later; it may run another. */
  jobKey?: string;
  /** The job attempt it is bound to, where the forge can bind. */
  handle?: string;
  /** It is registered at this repository alone, and serves its pool's trusted jobs only. */
  repository?: string;
  /** What it may run, in the sandbox's own eyes; there with `repository`. */
  trust?: TrustPolicy;
  since: number;
  at: number;
  registration: RegistrationState;
  sandbox: SandboxState;
  agent: AgentState;
  /** Credentials are in the metadata (`given`), or were and are gone again (`withdrawn`). */
  credentials: "none" | "given" | "withdrawn";
  /** When the credentials were put into the metadata. */
  given?: { since: number };
  /** It is to be drained, or is, and why; taken back when it turns out to hold a job. */
  removal?: Ending;
  /** Why its agent could not be heard for a while; ends by a limit tell it too. */
  trouble?: string;
  /** Set once: the runner only winds down from here. */
  ending?: Ending;
  /** Set once, when the runner ended under a job. */
  outcome?: JobOutcome;
  timeline: Timeline;
  /** Address of the sandbox as the host sees it, for the API. */
  address?: string;
  /** When the process that is now took its sandbox over from one that had ended. */
  adopted?: { since: number };
  /** Its record was lost and made again: nobody knows the secret of its registration any more. */
  secretLost?: true;
  /** Told when its sandbox was taken apart. */
  usage?: SandboxUsage;
  /** How many of the agent's numbered events are recorded; the channel goes on there after a restart. */
  heard?: number;
}

/** The six words of the API's `status`. */
export type RunnerStatus = "starting" | "idle" | "busy" | "stopping" | "stopped" | "failed";
