import type { DriverName, EndReason, Job, Runner } from "./types.ts";

/**
 * What the plan can ask for. Each kind has one executor (orchestrator/execute/), held complete by a mapped type.
 * Every step is safe to repeat.
 */
export type Step =
  /** Record a new runner; changes nothing outside. Stands before the first other steps of the same runner. */
  | { kind: "create"; runner: Runner }
  /** Register the runner in the forge; a warm one for `job`, which is recorded (event `matched`) before the forge is asked. */
  | { kind: "register"; runner: string; job?: Job }
  /** Make and start the sandbox. */
  | { kind: "boot"; runner: string }
  /** Put the registration's credentials into the sandbox's metadata. */
  | { kind: "give"; runner: string }
  /** Take the credentials out of the metadata again. */
  | { kind: "withdraw"; runner: string }
  /** Ask an idle runner to take no job any more; it answers `drained` or `busy`. */
  | { kind: "drain"; runner: string; reason: EndReason; detail: string }
  /** Mark a runner as ending: it only winds down from here. Changes nothing outside. */
  | { kind: "end"; runner: string; reason: EndReason; detail: string }
  /** Cancel the removal of a runner that turned out to hold a job. Changes nothing outside. */
  | { kind: "keep"; runner: string }
  /** Remove the sandbox with everything it wrote. */
  | { kind: "destroy"; runner: string }
  /** Tell the forge that the job which the runner ended under failed, and why. */
  | { kind: "fail-job"; runner: string }
  /** Record that the forge cannot be told so, and why. Changes nothing outside. */
  | { kind: "leave-job"; runner: string; detail: string }
  /** Delete the registration from the forge. */
  | { kind: "deregister"; runner: string }
  /** Nothing is left: move the record into history. Changes nothing outside. */
  | { kind: "close"; runner: string }
  /** Remove a sandbox of this host that no record knows. */
  | { kind: "sweep-sandbox"; driver: DriverName; hex: string }
  /** Delete a runner row of this host that no record knows. */
  | { kind: "sweep-row"; target: string; row: number; name: string };

export type StepKind = Step["kind"];

/** Steps that touch the same lane of the same runner never overlap; lanes are independent of each other. */
export type Lane = "record" | "forge" | "host";

export const LANES: { [K in StepKind]: Lane } = {
  create: "record",
  end: "record",
  keep: "record",
  "leave-job": "record",
  close: "record",
  register: "forge",
  "fail-job": "forge",
  deregister: "forge",
  "sweep-row": "forge",
  boot: "host",
  give: "host",
  withdraw: "host",
  drain: "host",
  destroy: "host",
  "sweep-sandbox": "host",
};

/** Identifies what a step occupies while it runs: `<subject>:<lane>`. */
export function laneKey(step: Step): string {
  const subject =
    step.kind === "create"
      ? step.runner.id
      : step.kind === "sweep-sandbox"
        ? step.hex
        : step.kind === "sweep-row"
          ? `${step.target}#${step.row}`
          : step.runner;
  return `${subject}:${LANES[step.kind]}`;
}

/** Identifies a repeatable step in the plan's memory of failures: another kind of step in its lane is not held up by it. */
export const retryKey = (step: Step): string => `${laneKey(step)}:${step.kind}`;
