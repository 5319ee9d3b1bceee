import { hexOf } from "../base/names.ts";
import type { Runner } from "../core/types.ts";
import type { Orchestrator } from "../orchestrator/port.ts";

/** How much of the history is listed at once. */
export const MAX_HISTORY = 1_000;

/** By id, by the name in the forge, or by the hex alone. */
export function findRunner(runners: Runner[], id: string): Runner | undefined {
  return runners.find((runner) => isCalled(runner, id));
}

/** A runner that is gone, as the history has it. */
export function findClosed(orchestrator: Orchestrator, id: string): { runner: Runner; closedAt: number } | undefined {
  const hex = hexOf(`-${id}`);
  const entry = hex === undefined ? undefined : orchestrator.closed(hex);
  return entry !== undefined && isCalled(entry.runner, id) ? entry : undefined;
}

const isCalled = (runner: Runner, id: string): boolean => runner.id === id || runner.name === id || runner.hex === id;
