import type { PoolView } from "../../../src/core/plan-types.ts";
import { isLive } from "../../../src/core/runner.ts";
import type { EndReason, Runner } from "../../../src/core/types.ts";
import type { ModelForge } from "./forge.ts";
import type { ModelHost } from "./host.ts";

/** For these a runner is ended although the forge still wants its job. */
const STRONGER_THAN_A_JOB: ReadonlySet<EndReason> = new Set(["job-timeout", "forced"]);
/** And for these although it may just have taken one, of which nobody has heard. */
const STRONGER_THAN_A_START: ReadonlySet<EndReason> = new Set(["boot-timeout", "ready-timeout"]);

export function mayEndUnder(runner: Runner | undefined): boolean {
  if (runner?.ending === undefined) return false;
  const { reason, since } = runner.ending;
  const isBusyBefore = runner.agent.phase === "busy" && runner.agent.since < since;
  return STRONGER_THAN_A_JOB.has(reason) || (STRONGER_THAN_A_START.has(reason) && !isBusyBefore);
}

/** What must hold at every moment, whatever goes wrong. */
export function brokenPromises(runners: Runner[], host: ModelHost, pools: PoolView[]): string[] {
  const broken: string[] = [];
  const sandboxes = [...host.sandboxes.values()];
  for (const { pool } of pools) {
    const live = runners.filter((runner) => runner.pool === pool.name && isLive(runner)).length;
    if (live > pool.maxRunners) broken.push(`${live} runners of pool ${pool.name}, which may have ${pool.maxRunners}`);
    const there = sandboxes.filter(({ spec }) => spec.pool === pool.name).length;
    if (there > pool.maxRunners)
      broken.push(`${there} sandboxes of pool ${pool.name}, which may have ${pool.maxRunners}`);
  }
  const handles = new Map<string, string>();
  for (const { handle, ending, id } of runners) {
    if (handle === undefined || ending !== undefined) continue;
    const other = handles.get(handle);
    if (other !== undefined) broken.push(`${other} and ${id} are both for ${handle}`);
    handles.set(handle, id);
  }
  return broken;
}

/** Rows and sandboxes that no record knows, but for those whose job the forge still shows as running. */
export function orphans(runners: Runner[], host: ModelHost, forge: ModelForge): string[] {
  const names = new Set(runners.map(({ name }) => name));
  const hexes = new Set(runners.map(({ hex }) => hex));
  const working = new Set<string>();
  for (const { name, job } of forge.rows.values()) if (job?.state === "running") working.add(name.slice(-24));
  return [
    ...[...forge.rows.values()]
      .filter(({ name }) => !names.has(name) && !working.has(name.slice(-24)))
      .map(({ row, name }) => `row ${row} ${name}`),
    ...[...host.sandboxes.keys()].filter((hex) => !hexes.has(hex) && !working.has(hex)).map((hex) => `sandbox ${hex}`),
  ];
}
