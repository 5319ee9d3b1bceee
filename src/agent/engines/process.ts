import { describe } from "../../base/errors.ts";
import type { AgentEvent } from "../../channel/messages.ts";
import { startChild } from "../child.ts";
import type { EngineContext, EngineLaunch } from "./engine.ts";
import { type ProgramWatch, watchPrograms } from "./first-program.ts";

export interface EngineEnd {
  code: number;
  detail?: string;
}

export interface RunningEngine {
  /** Take no more jobs. */
  drain(): void;
  /** End now, reporting what can be reported; killed after the grace. */
  stop(graceMs: number): void;
  /** Never rejects. */
  readonly ended: Promise<EngineEnd>;
}

/** Kinds that an engine may report about itself; the others are the agent's. */
const ENGINE_KINDS: ReadonlySet<unknown> = new Set([
  "listening",
  "assigned",
  "first-step",
  "job-finished",
  "drained",
  "log",
]);

/** Starts the engine and turns what it says into events. */
export async function startEngine(launch: EngineLaunch, context: EngineContext): Promise<RunningEngine> {
  const { clock, log } = context;
  let lastLine = "";
  let programs: ProgramWatch | undefined;
  const onLine = (line: string): void => {
    lastLine = line;
    context.report({ kind: "log", stream: "engine", text: `${line}\n` });
    const event = launch.understand(line);
    if (event !== undefined) onEvent(event);
  };
  const onEvent = (event: AgentEvent): void => {
    context.report(event);
    if (event.kind === "listening") programs ??= watchPrograms(child.pid, clock);
    if (event.kind === "assigned") programs?.begin(() => context.report({ kind: "first-step" }));
  };
  const onRecord = (line: string): void => {
    const event = readRecord(line);
    if (event === undefined) log.warn("the engine said something that is no event");
    else context.report(event);
  };
  const child = await startChild({
    command: launch.command,
    cwd: context.options.workDir,
    environment: context.environment,
    identity: context.identity,
    onLine,
    ...(launch.speaksRecords ? { onRecord } : {}),
    clock,
    log,
  });
  return {
    drain: () => child.kill(launch.drainSignal),
    stop(graceMs) {
      child.kill(launch.stopSignal);
      const timer = clock.after(graceMs, () => child.kill("SIGKILL"));
      void child.ended.then(() => timer.cancel());
    },
    ended: child.ended.then(({ code, signal }) => {
      programs?.end();
      const detail = signal === undefined ? lastLine : `ended by ${signal}; ${lastLine}`;
      return code === 0 ? { code } : { code, detail: detail.slice(0, 1_000) };
    }),
  };
}

function readRecord(line: string): AgentEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    const known = typeof value === "object" && value !== null && "kind" in value && ENGINE_KINDS.has(value.kind);
    return known ? (value as AgentEvent) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw new Error(`an engine's record could not be read: ${describe(error)}`, { cause: error });
  }
}
