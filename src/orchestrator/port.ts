import type { PlanMemory, PoolView, WaitReason } from "../core/plan-types.ts";
import type { StepKind } from "../core/steps.ts";
import type { Runner } from "../core/types.ts";

export interface TargetHealth {
  key: string;
  url: string;
  health: "ok" | "frozen";
  /** Why it is frozen, one line. */
  reason?: string;
  /** What this forge's version makes possible, one line. */
  mode?: string;
  /** Wall clock of the last good answer. */
  lastGoodAt?: number;
}

/** The orchestrator as API and telemetry see it: snapshots to read, commands to send. */
export interface Orchestrator {
  pools(): PoolView[];
  runners(): Runner[];
  reasons(): WaitReason[];
  memory(): PlanMemory;
  targets(): TargetHealth[];
  /** Runners that are gone, newest first. */
  history(limit: number): { runner: Runner; closedAt: number }[];
  /** One that is gone. */
  closed(hex: string): { runner: Runner; closedAt: number } | undefined;
  /** What happened to a runner, present or gone, oldest first; empty when it is not known. */
  story(hex: string): { at: number; change: string }[];
  /** False until the first plan has run. */
  started(): boolean;
  /** Creates no more runners for the pool; what runs goes on. Kept over restarts. */
  pause(pool: string): void;
  resume(pool: string): void;
  /** Ends a runner. A busy one only with `force`; answers `busy` otherwise. */
  stopRunner(id: string, force: boolean): "ending" | "busy" | "unknown";
  /** Output of the engine and the console, the last `bytes` of each. */
  logs(id: string, bytes: number): Promise<{ engine: string; console: string } | undefined>;
  subscribe(listener: (event: OrchestratorEvent) => void): () => void;
}

/** What happened, for history, the API's stream and telemetry. Nobody calls back up. */
export type OrchestratorEvent =
  | { kind: "runner"; change: string; runner: Runner; at: number }
  | { kind: "closed"; runner: Runner; at: number }
  | { kind: "step"; step: StepKind; pool?: string; milliseconds: number; ok: boolean }
  | { kind: "part"; step: StepKind; part: string; milliseconds: number; ok: boolean }
  | { kind: "forge"; target: TargetHealth }
  | { kind: "plan"; milliseconds: number; steps: number };
