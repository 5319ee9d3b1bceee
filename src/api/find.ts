import { hexOf } from "../base/names.ts";
import type { Runner } from "../core/types.ts";
import type { Orchestrator } from "../orchestrator/port.ts";

/** How far back the history is read. */
export const MAX_HISTORY = 1_000;

/** By id, by the name in the forge, or by the hex alone. */
export function findRunner(runners: Runner[], id: string): Runner | undefined {
  return runners.find((runner) => runner.id === id || runner.name === id || runner.hex === id);
}

/** A runner that is gone, as the history has it. */
export function findClosed(orchestrator: Orchestrator, id: string): { runner: Runner; closedAt: number } | undefined {
  // What is no name of a runner is not worth the search.
  if (hexOf(`-${id}`) === undefined) return undefined;
  const entries = orchestrator.history(MAX_HISTORY);
  const found = findRunner(
    entries.map(({ runner }) => runner),
    id,
  );
  return entries.find(({ runner }) => runner === found);
}
