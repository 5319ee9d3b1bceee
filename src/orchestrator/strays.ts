import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { PlanInput, PoolView } from "../core/plan-types.ts";
import type { DriverName, RunnerRow } from "../core/types.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import { adopt, findStrays, serveAgain } from "./adopt.ts";
import type { Attendance } from "./attendance.ts";
import type { ExecuteDeps } from "./execute/context.ts";
import { rebuild, type Stray } from "./rebuild.ts";
import type { Records } from "./records.ts";

interface StraysDeps {
  clock: Clock;
  log: Logger;
  records: Records;
  attendance: Attendance;
  execute: ExecuteDeps;
  drivers: Map<DriverName, SandboxDriver>;
  /** Milliseconds between two searches; 30 s unless told. */
  housekeeping?: number;
}

/** What the host has of ours: taken over at the start, and searched again and again for what no record knows. */
export interface Strays {
  /** As the plan sees them. */
  view(): Pick<PlanInput["strays"], "sandboxes" | "read">;
  /** Goes on with those whose record was lost, as far as rows and pools allow. */
  takeUp(rows: RunnerRow[], pools: PoolView[]): void;
  /** What was swept away is not seen again before the host is looked at the next time. */
  forget(hex: string): void;
  /** Takes over the sandboxes of the process before this one. */
  adopt(): Promise<void>;
  /** Searches the host now and from now on; `found` is called after every search. */
  search(found: () => void): Promise<void>;
  stop(): Promise<void>;
}

const EVERY = 30_000;

export function createStrays(deps: StraysDeps): Strays {
  const { clock, log, records } = deps;
  let strays: Stray[] = [];
  let read = 0;
  let stopped = false;
  let timer: Timer | undefined;
  let searching: Promise<void> = Promise.resolve();

  const search = async (found: () => void) => {
    const { strays: seen, complete } = await findStrays([...deps.drivers.values()], () => strays, deps);
    strays = seen;
    if (complete) read++;
    if (stopped) return;
    found();
    timer = clock.after(deps.housekeeping ?? EVERY, () => {
      searching = search(found);
    });
  };

  /** Goes on with a sandbox whose record was lost; says whether it could. */
  const takeUp = (stray: Stray, rows: RunnerRow[], pools: PoolView[]): boolean => {
    if (records.byHex(stray.hex) !== undefined) return true;
    const runner = rebuild(stray, rows, pools, { now: clock.uptime(), at: clock.now() });
    if (runner === undefined) return false;
    records.add(runner);
    deps.attendance.attend(runner.id);
    serveAgain(deps.execute.driver(stray.driver), runner, deps.execute.document(runner), log);
    log.warn({ runner: runner.id }, "adopted a sandbox whose record was lost");
    return true;
  };

  return {
    view: () => ({ sandboxes: strays, read }),
    takeUp: (rows, pools) => {
      strays = strays.filter((stray) => !takeUp(stray, rows, pools));
    },
    forget: (hex) => {
      strays = strays.filter((stray) => stray.hex !== hex);
    },
    adopt: async () => {
      for (const driver of deps.drivers.values()) strays.push(...(await adopt(driver, deps)));
    },
    search: (found) => (searching = search(found)),
    stop: async () => {
      stopped = true;
      timer?.cancel();
      await searching;
    },
  };
}
