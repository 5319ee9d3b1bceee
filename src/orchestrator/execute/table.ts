import type { RunnerEvent } from "../../core/runner.ts";
import type { Step, StepKind } from "../../core/steps.ts";
import type { Executor } from "./context.ts";
import { failJob } from "./fail-job.ts";
import { deregister, drain, register, sweepRow } from "./register.ts";
import { boot, destroy, give, sweepSandbox, withdraw } from "./sandbox.ts";

/** Steps of the record lane change nothing outside; the loop carries them out itself, in order. */
export const RECORD_STEPS = ["create", "end", "keep", "leave-job", "close"] as const;
export type RecordStep = (typeof RECORD_STEPS)[number];
export type OutsideStep = Exclude<StepKind, RecordStep>;

/** One executor for every step that changes something outside: a step without one does not compile. */
export const EXECUTORS: { [K in OutsideStep]: Executor<K> } = {
  register,
  "fail-job": failJob,
  deregister,
  "sweep-row": sweepRow,
  drain,
  boot,
  give,
  withdraw,
  destroy,
  "sweep-sandbox": sweepSandbox,
};

/** What a step is about to begin, recorded together with its intent: seen again after a crash, it was tried before. */
export function begins(step: Step): RunnerEvent[] {
  if (step.kind === "boot") return [{ kind: "boot-asked" }];
  if (step.kind !== "register") return [];
  return [...(step.job === undefined ? [] : [{ kind: "matched", job: step.job } as const]), { kind: "register-asked" }];
}

/** How long a step may take before it is given up and tried again, in milliseconds. */
export const STEP_TIMEOUTS: { [K in OutsideStep]: number } = {
  register: 60_000,
  "fail-job": 60_000,
  deregister: 60_000,
  "sweep-row": 60_000,
  drain: 30_000,
  boot: 120_000,
  give: 30_000,
  withdraw: 30_000,
  destroy: 120_000,
  "sweep-sandbox": 120_000,
};
