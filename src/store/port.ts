import type { PlanMemory } from "../core/plan-types.ts";
import type { Job, Runner } from "../core/types.ts";

/** What is about to be done outside, written down before it is done. */
export interface Intent {
  id: number;
  /** `<subject>:<lane>` of the step, see core/steps.ts. */
  lane: string;
  /** The step as JSON. */
  step: string;
  at: number;
}

export interface RunnerSecrets {
  uuid: string;
  token: string;
}

export interface HistoryEntry {
  runner: Runner;
  closedAt: number;
}

/** Something that happened to a runner; `change` is an event's kind (core/runner.ts), `at` Unix milliseconds. */
export interface RunnerChange {
  at: number;
  change: string;
}

/** What a webhook said last of a job, kept where the forge has no queue to read. */
export interface PushedJob {
  job: Omit<Job, "since">;
  /** How far it is on its way; see forge/webhook.ts. */
  rank: number;
  /** Signature of the delivery that said that it waits: nobody shall send that one again. */
  queuedBy: string;
}

/** What of the history is kept. */
export interface Retention {
  runners: number;
  days: number;
}

/**
 * What must survive this process. Every method is synchronous: a write has reached the operating system when it returns.
 * Losing the store loses history and timelines, never a job: the forge and the host tell the rest.
 */
export interface Store {
  /** All runners that are not closed, with uptimes already carried over to this boot. */
  runners(): Runner[];
  /** Saves the record, and adds to the story of its runner what changed it. */
  saveRunner(runner: Runner, changes?: readonly RunnerChange[]): void;
  /** Moves a runner into history and erases its secrets. */
  closeRunner(runner: Runner, at: number): void;
  /** Closed runners, newest first. */
  history(limit: number): HistoryEntry[];
  /** A closed runner that is still in the history. */
  closed(hex: string): HistoryEntry | undefined;
  /** What happened to a runner, present or closed, oldest first; the first few hundred changes. */
  story(hex: string): RunnerChange[];

  /** Everything that `work` writes is one transaction: all of it is written when this returns, or nothing when it throws. */
  together<T>(work: () => T): T;

  /** Records an intent; returns its id. */
  beginStep(lane: string, step: string, at: number): number;
  /** Drops an intent: its outcome is recorded. */
  endStep(intent: number): void;
  /** Intents whose outcome was never recorded: their maker died. */
  openIntents(): Intent[];

  saveSecrets(runner: string, secrets: RunnerSecrets): void;
  secrets(runner: string): RunnerSecrets | undefined;

  pausedPools(): string[];
  setPaused(pool: string, paused: boolean): void;
  loadMemory(): PlanMemory | undefined;
  saveMemory(memory: PlanMemory): void;
  /** The last few thousand, oldest first. */
  pushedJobs(): PushedJob[];
  savePushedJob(pushed: PushedJob): void;
  /** Forgets old history, a bounded part at a time, and overwrites erased secrets wherever they lie. To be called often. */
  tidy(retention: Retention): void;
  close(): void;
}
