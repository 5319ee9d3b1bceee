import { emptyMemory } from "../../src/core/plan-types.ts";
import type { Orchestrator } from "../../src/orchestrator/port.ts";

/** An orchestrator that shows what it is given and notes what it is told. */
export function standIn(over: Partial<Orchestrator> = {}): Orchestrator & { told: string[] } {
  const told: string[] = [];
  return {
    told,
    pools: () => [],
    runners: () => [],
    reasons: () => [],
    memory: emptyMemory,
    targets: () => [],
    history: () => [],
    closed: () => undefined,
    story: () => [],
    started: () => true,
    pause: (pool) => void told.push(`pause ${pool}`),
    resume: (pool) => void told.push(`resume ${pool}`),
    stopRunner: (id, force) => {
      told.push(`stop ${id}${force ? " by force" : ""}`);
      return "ending";
    },
    logs: () => Promise.resolve(undefined),
    subscribe: () => () => undefined,
    ...over,
  };
}
