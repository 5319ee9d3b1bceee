import type { PoolView } from "../core/plan-types.ts";
import type { DriverName, Runner, RunnerRow } from "../core/types.ts";
import type { SandboxInfo } from "../sandbox/port.ts";

/** A sandbox of this host that no record knows. */
export interface Stray extends SandboxInfo {
  driver: DriverName;
}

/**
 * The record of a sandbox that lives although its record was lost, made again from what the host and the forge say. Its
 * agent tells its story again from the beginning. The runner's secret is lost, but a job that runs has no need of it; a
 * runner that had not got it yet is told apart by its agent's story, and ends.
 *
 * Undefined where the sandbox is fit only for removal: it ended, no runner of the forge is its own, or its pool is gone.
 */
export function rebuild(
  stray: Stray,
  rows: readonly RunnerRow[],
  pools: readonly PoolView[],
  time: { now: number; at: number },
): Runner | undefined {
  const row = rows.find(({ name }) => name.endsWith(`-${stray.hex}`));
  const pool = pools.map((view) => view.pool).find(({ name }) => name === stray.pool);
  if (stray.state !== "running" || row === undefined || pool === undefined) return undefined;
  const startedAt = stray.startedAt ?? time.now;
  const { now } = time;
  return {
    hex: stray.hex,
    id: stray.runnerId,
    name: row.name,
    pool: pool.name,
    driver: stray.driver,
    target: row.target,
    labels: [...pool.labels],
    ...(row.repository === undefined ? {} : { repository: row.repository }),
    memoryMib: pool.memoryMib,
    vcpus: pool.vcpus,
    diskMib: pool.diskMib,
    limits: { ...pool.limits },
    ...(pool.mute === undefined ? {} : { mute: pool.mute }),
    since: startedAt,
    at: time.at - (now - startedAt),
    registration: { phase: "active", row: row.row, uuid: row.uuid ?? "", since: now },
    sandbox: { phase: "running", since: now },
    agent: { phase: "silent" },
    credentials: "given",
    given: { since: now },
    secretLost: true,
    timeline: { started: time.at - (now - startedAt) },
    ...(stray.address === undefined ? {} : { address: stray.address }),
  };
}
