import type { PoolView } from "../../../src/core/plan-types.ts";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import type { Job, RunnerRow } from "../../../src/core/types.ts";

/** A job as the forge really has it. */
export interface ForgeJob {
  job: Job;
  state: "queued" | "running" | "done";
  row?: number;
}

export interface ForgeRow extends RunnerRow {
  labels: string[];
  handle?: string;
  used: boolean;
  /** The forge gives it no job any more. */
  disabled?: boolean;
}

export interface Guest {
  runner: string;
  /** Its agent says nothing. */
  mute: boolean;
  /** What the agent inside is at, which the record learns only by `deliver`. */
  phase: "booting" | "up" | "starting" | "listening" | "drained" | "busy" | "exited";
  row?: number;
  hasCredentials: boolean;
  drainAsked: boolean;
  /** It hangs: nothing inside happens any more. */
  dead: boolean;
  /** Lost the race for a job once, and never looks again. */
  deaf: boolean;
  said: RunnerEvent[];
}

export interface WorldOptions {
  pools: PoolView[];
  bindsJobs: boolean;
  listsQueue: boolean;
}
