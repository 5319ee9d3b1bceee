import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { Distrust } from "../../base/trust.ts";
import type { RunnerEvent } from "../../core/runner.ts";
import type { Step, StepKind } from "../../core/steps.ts";
import type { DriverName, Runner } from "../../core/types.ts";
import type { ForgeTarget } from "../../forge/port.ts";
import type { MetadataDocument, SandboxDriver, SandboxSpec, StepContext } from "../../sandbox/port.ts";
import type { RunnerSecrets, Store } from "../../store/port.ts";
import type { Attendance } from "../attendance.ts";
import type { LogBook } from "../logs.ts";
import type { Records } from "../records.ts";

/** What executors work with. */
export interface ExecuteDeps {
  clock: Clock;
  log: Logger;
  store: Store;
  records: Records;
  attendance: Attendance;
  logs: LogBook;
  target(key: string): ForgeTarget;
  /** Why no runner may be registered for the job of this one, by today's configuration and the queue's last word. */
  distrust(runner: Runner): Distrust | undefined;
  driver(name: DriverName): SandboxDriver;
  /** The metadata document of a runner, with its credentials or without. May have to ask the forge. */
  document(runner: Runner, secrets?: RunnerSecrets): Promise<MetadataDocument>;
  /** Files that lie in the sandbox of a mute runner before it starts: its registration. */
  filesBeforeBoot(runner: Runner, secrets: RunnerSecrets): NonNullable<SandboxSpec["files"]>;
  /** Forges of which it was said that they keep the rows of runners that are gone; empty at first. */
  saidRowsStay: WeakSet<ForgeTarget>;
}

/** One step under way. */
export interface ExecuteContext extends StepContext {
  /** The runner as it was before this step's intent was recorded: tells of an earlier try. */
  before: Runner | undefined;
  /** What is written to the store in one transaction with the step's outcome. */
  writes: (() => void)[];
}

/**
 * Carries out one step. It may be repeated after a crash at any point of it, so it begins by looking what is there.
 * Returns what to record; throws when the outside did not do as asked.
 */
export type Executor<K extends StepKind> = (
  step: Extract<Step, { kind: K }>,
  deps: ExecuteDeps,
  context: ExecuteContext,
) => Promise<RunnerEvent[]>;

/** The record of a step's runner. It exists while one of its steps is in flight. */
export function recordOf(deps: ExecuteDeps, id: string): Runner {
  const runner = deps.records.get(id);
  if (runner === undefined) throw new Error(`no record of runner ${id}`);
  return runner;
}
