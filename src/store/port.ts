import type { PlanMemory } from "../core/plan-types.ts";
import type { Runner } from "../core/types.ts";

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

/**
 * What must survive this process. Every method is synchronous: a write has reached the operating system when it returns.
 * Losing the store loses history and timelines, never a job: the forge and the host tell the rest.
 */
export interface Store {
  /** All runners that are not closed, with uptimes already carried over to this boot. */
  runners(): Runner[];
  saveRunner(runner: Runner): void;
  /** Moves a runner into history and erases its secrets. */
  closeRunner(runner: Runner, at: number): void;
  history(limit: number): HistoryEntry[];

  /** Records an intent and the runner's state in one transaction. */
  beginStep(lane: string, step: string, at: number, runner?: Runner): number;
  /** Records a step's outcome and the runner's state in one transaction. */
  endStep(intent: number, runner?: Runner): void;
  /** Intents whose outcome was never recorded: their maker died. */
  openIntents(): Intent[];

  saveSecrets(runner: string, secrets: RunnerSecrets): void;
  secrets(runner: string): RunnerSecrets | undefined;

  pausedPools(): string[];
  setPaused(pool: string, paused: boolean): void;
  loadMemory(): PlanMemory | undefined;
  saveMemory(memory: PlanMemory): void;
  close(): void;
}
