import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { AgentEvent } from "../../channel/messages.ts";
import type { Assignment } from "../assignment.ts";
import type { Identity } from "../identity.ts";
import type { AgentOptions } from "../options.ts";

/** What an engine is given to prepare itself. */
export interface EngineContext {
  assignment: Assignment;
  options: AgentOptions;
  /** The runner's registration as a file; there already, unless the engine registers itself. */
  runnerFile: string;
  identity: Identity;
  environment: Record<string, string>;
  clock: Clock;
  log: Logger;
  report(event: AgentEvent): void;
}

/** How to start an engine, and how to understand it. */
export interface EngineLaunch {
  command: string[];
  /** Asks it to take no more jobs; one that it has goes on. */
  drainSignal: NodeJS.Signals;
  /** Asks it to end its job too. */
  stopSignal: NodeJS.Signals;
  /** It writes events as JSON lines to its descriptor 3. Otherwise its log is read. */
  speaksRecords: boolean;
  /** What a line of its log means. */
  understand(line: string): AgentEvent | undefined;
}

/** A program that takes one job from the forge and runs it. */
export interface Engine {
  /** The program's path, or undefined where the image has none. */
  find(options: AgentOptions): string | undefined;
  /** Writes what it needs. */
  prepare(context: EngineContext, program: string): Promise<EngineLaunch>;
}
