import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { newHex, type Places } from "../base/names.ts";
import { ALONE, type Fleet } from "../core/fleet.ts";
import type { PoolView } from "../core/plan-types.ts";
import { poolOf, type Settings } from "../core/settings.ts";
import type { DriverName } from "../core/types.ts";
import { serveAgain } from "../orchestrator/adopt.ts";
import { createAttendance } from "../orchestrator/attendance.ts";
import type { ExecuteDeps } from "../orchestrator/execute/context.ts";
import type { FaultPoint } from "../orchestrator/execute/run.ts";
import { createLogBook } from "../orchestrator/logs.ts";
import { createLoop, type Loop } from "../orchestrator/loop.ts";
import type { Orchestrator } from "../orchestrator/port.ts";
import { createRecords } from "../orchestrator/records.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import { openStore } from "../store/sqlite.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { buildDrivers } from "./build-drivers.ts";
import { capacity, watchSpace } from "./capacity.ts";
import { documentOf, givesToken, registrationFiles } from "./documents.ts";
import { keepDrivers } from "./drivers.ts";
import { fleetOf, notInFleet } from "./fleet.ts";
import { revisionOf } from "./revision.ts";
import { createTargets, type Targets } from "./targets.ts";
import { distrustNow, trustObstacle } from "./trust.ts";

export interface ComposeOptions {
  settings: Settings;
  places: Places;
  hostId: string;
  boot: string;
  clock: Clock;
  log: Logger;
  /** Hosts that are reached without a proxy, as in `NO_PROXY`. */
  noProxy?: string | undefined;
  /** See `LoopDeps`; for tests. */
  faultPoint?: FaultPoint;
  /** See `LoopDeps`; for tests. */
  housekeeping?: number;
  /** Instead of the drivers that the pools name; for tests. */
  drivers?: Map<DriverName, SandboxDriver>;
}

/** The whole orchestrator, built but not started. */
export interface Composition {
  orchestrator: Orchestrator;
  metrics: Metrics;
  targets: Targets;
  start(): Promise<void>;
  /** Takes new settings; what runs goes on. */
  reload(settings: Settings): void;
  /** Ends planning: at once (`detach`), after running jobs (`drain`, at most `timeout` milliseconds or until `interrupted`) or with them (`kill`). */
  stop(how: Settings["shutdown"], timeout: number, interrupted?: AbortSignal): Promise<void>;
  /** Gives back everything this process holds. Sandboxes go on. */
  close(): Promise<void>;
}

/** For a forge to say the scope's registration token, milliseconds. */
const TOKEN_TIMEOUT = 30_000;

const NEVER = new AbortController().signal;

export async function compose(options: ComposeOptions): Promise<Composition> {
  const { places, clock, log } = options;
  let { settings } = options;
  const store = openStore({ path: join(places.state, "state.db"), clock, boot: options.boot, log });
  const logs = createLogBook(join(places.state, "logs"), log);
  const records = createRecords({ store, clock, log });
  const inUse = records.all().map((runner) => runner.driver);
  let loop: Loop | undefined;
  const wake = () => loop?.wake();
  const built =
    options.drivers === undefined
      ? buildDrivers({ ...options, inUse, settings: () => settings, changed: wake })
      : undefined;
  const drivers = options.drivers ?? built?.byName ?? new Map<DriverName, SandboxDriver>();
  await built?.apply();
  let metrics: Metrics | undefined;
  /** Whether what sandboxes share goes away at the end. */
  let remove = false;

  const driver = (name: DriverName): SandboxDriver => {
    const found = drivers.get(name);
    if (found === undefined) throw new Error(`no pool uses the driver ${name} any more`);
    return found;
  };
  const attendance = createAttendance({ records, logs, driver, clock, log, wake });
  const targets = createTargets({
    hostId: options.hostId,
    clock,
    log,
    records,
    store,
    noProxy: options.noProxy,
    wake,
    onRequest: (request) => metrics?.forgeRequest(request),
  });
  const scopeToken = (target: string) => targets.target(target).registrationToken(AbortSignal.timeout(TOKEN_TIMEOUT));
  let fleet: Fleet = ALONE;
  const joinFleet = () => {
    fleet = fleetOf(settings.fleet, options.hostId);
    const warning = notInFleet(fleet);
    if (warning !== undefined) log.warn({ hosts: settings.fleet.hosts }, warning);
  };
  joinFleet();
  const flavourAt = (target: string) => targets.watchers().get(target)?.capabilities()?.flavour ?? "gitea";
  const execute: ExecuteDeps = {
    clock,
    log,
    store,
    records,
    attendance,
    logs,
    target: (key) => targets.target(key),
    distrust: (runner) => distrustNow(runner, settings, targets.watchers().get(runner.target)?.view()),
    driver,
    document: async (runner, secrets) => {
      const registrationToken = givesToken(runner, settings) ? await scopeToken(runner.target) : undefined;
      return documentOf(runner, settings, flavourAt(runner.target), { secrets, registrationToken });
    },
    filesBeforeBoot: (runner, secrets) => registrationFiles(runner, settings, secrets),
    saidRowsStay: new WeakSet(),
  };
  const keeper = keepDrivers({
    drivers,
    clock,
    log,
    wake,
    // Sandboxes of the process before this one are served their metadata again.
    onReady: (ready) => {
      void built?.look();
      for (const runner of records.all()) {
        if (runner.driver !== ready.name || runner.sandbox.phase !== "running") continue;
        const secrets = runner.credentials === "given" ? store.secrets(runner.id) : undefined;
        serveAgain(ready, runner, execute.document(runner, secrets), log);
      }
    },
  });
  records.subscribe((event) => {
    if (event.kind !== "step" || event.step !== "boot" || event.ok) return;
    const pool = settings.pools.find(({ name }) => name === event.pool);
    if (pool !== undefined) keeper.recheck(pool.driver);
  });
  const freeSpace = watchSpace(places, clock);
  const desired = () => ({
    pools: settings.pools.map((pool): PoolView => {
      const { bootFactor = 1, ...driverState } = keeper.state(pool.driver);
      const untrusting = trustObstacle(pool, targets.watchers().get(pool.target)?.capabilities());
      const { usable, detail } = untrusting === undefined ? driverState : { usable: false, detail: untrusting };
      const limits = { ...pool.limits, boot: pool.limits.boot * bootFactor, ready: pool.limits.ready * bootFactor };
      const own = poolOf(pool, flavourAt(pool.target), settings.guest);
      const revision = revisionOf(pool, own.engine, built?.digest(pool.image));
      return {
        pool: { ...own, limits },
        paused: false,
        usable,
        ...(revision === undefined ? {} : { revision }),
        ...(usable ? {} : { detail }),
      };
    }),
    host: capacity(settings, freeSpace()),
    fleet,
    watchers: targets.watchers(),
    history: settings.history,
  });
  loop = createLoop({
    freshHex: () => newHex(options.hostId, (digits) => randomBytes(digits / 2).toString("hex")),
    clock,
    log,
    store,
    records,
    attendance,
    logs,
    execute,
    drivers,
    desired,
    ...(options.housekeeping === undefined ? {} : { housekeeping: options.housekeeping }),
    ...(options.faultPoint === undefined ? {} : { faultPoint: options.faultPoint }),
  });
  const started = loop;
  metrics = createMetrics(started);

  return {
    orchestrator: started,
    metrics,
    targets,
    start: async () => {
      targets.update(settings);
      await started.start();
    },
    reload: (next) => {
      targets.update(next);
      settings = next;
      joinFleet();
      built
        ?.apply()
        .catch((error: unknown) => log.error({ cause: describe(error) }, "the network did not take the new settings"));
      log.level = next.logLevel;
      wake();
    },
    stop: async (how, timeout, interrupted = NEVER) => {
      remove = how !== "detach";
      if (how !== "detach") await started.windDown(how, AbortSignal.any([AbortSignal.timeout(timeout), interrupted]));
      const left = records.all().map((runner) => runner.id);
      if (how !== "detach" && left.length > 0) log.warn({ runners: left }, "runners are left to the next start");
      await started.stop();
    },
    close: async () => {
      await keeper.stop();
      await attendance.close();
      await targets.stop();
      await built?.close({ remove });
      for (const each of options.drivers?.values() ?? []) await each.close();
      logs.close();
      store.close();
    },
  };
}
