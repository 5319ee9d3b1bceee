import type { ClaimedJob, EndReason, Job, JobResult, Phase, Runner, RunnerStatus, SandboxExit } from "./types.ts";

/** Whatever changes a runner's record. `now` is uptime, `at` wall clock. */
export type RunnerEvent =
  | { kind: "register-asked" }
  | { kind: "registered"; row: number; uuid: string }
  | { kind: "row-gone" }
  | { kind: "boot-asked" }
  | { kind: "booted"; address?: string }
  | { kind: "agent-up" }
  | { kind: "credentials-given" }
  | { kind: "credentials-withdrawn" }
  | { kind: "listening" }
  | { kind: "draining"; reason: EndReason; detail: string }
  | { kind: "drained" }
  | { kind: "assigned"; job: ClaimedJob }
  | { kind: "first-step" }
  | { kind: "job-finished"; result?: JobResult }
  | { kind: "engine-exited"; code: number }
  | { kind: "sandbox-exited"; exit: SandboxExit }
  | { kind: "sandbox-gone" }
  | { kind: "matched"; job: Job }
  | { kind: "ending"; reason: EndReason; detail: string }
  | { kind: "kept" };

/** A runner after an event. Events may repeat or arrive late (channel replay, adoption): the record never goes back. */
export function applyEvent(runner: Runner, event: RunnerEvent, time: { now: number; at: number }): Runner {
  throw new Error(`not written yet: ${runner.id} ${event.kind} ${time.now}`);
}

/** The original's six words, for the API. */
export function statusOf(runner: Runner): RunnerStatus {
  throw new Error(`not written yet: ${runner.id}`);
}

/** Whether the runner holds a job: the agent's word, never guessed. */
export function isBusy(runner: Runner): boolean {
  return runner.agent.phase === "busy";
}

/** Whether the runner may still take a job: starting or ready, and not ending. */
export function isAvailable(runner: Runner): boolean {
  throw new Error(`not written yet: ${runner.id}`);
}

/** Whether the runner still holds resources of the host or may do so. */
export function isLive(runner: Runner): boolean {
  return runner.sandbox.phase !== "gone" && !(runner.sandbox.phase === "none" && runner.ending !== undefined);
}

export function reached(runner: Runner, phase: Phase): boolean {
  return runner.timeline[phase] !== undefined;
}
