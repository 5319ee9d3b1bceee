import type { Logger } from "../../../src/base/log.ts";
import { newHex } from "../../../src/base/names.ts";
import { ALONE } from "../../../src/core/fleet.ts";
import type { HostCapacity, PoolView } from "../../../src/core/plan-types.ts";
import type { Runner } from "../../../src/core/types.ts";
import { serveAgain } from "../../../src/orchestrator/adopt.ts";
import { createAttendance } from "../../../src/orchestrator/attendance.ts";
import type { ExecuteDeps } from "../../../src/orchestrator/execute/context.ts";
import type { FaultPoint } from "../../../src/orchestrator/execute/run.ts";
import type { LogBook } from "../../../src/orchestrator/logs.ts";
import { createLoop, type Loop } from "../../../src/orchestrator/loop.ts";
import { type ForgeWatcher, watchForge } from "../../../src/orchestrator/observe.ts";
import { createRecords, type Records } from "../../../src/orchestrator/records.ts";
import type { MetadataDocument } from "../../../src/sandbox/port.ts";
import type { RunnerSecrets } from "../../../src/store/port.ts";
import { openStore } from "../../../src/store/sqlite.ts";
import type { ModelClock } from "./clock.ts";
import { type ModelForge, TARGET } from "./forge.ts";
import type { ModelHost } from "./host.ts";
import { type Life, mortal, mortalSync } from "./life.ts";
import type { Random } from "./random.ts";

const HOST_ID = "abc123";

export interface ModelProcess {
  loop: Loop;
  records: Records;
  watcher: ForgeWatcher;
  life: Life;
  /** Resolves when what was left behind is adopted; rejects when the host could not be read. */
  started: Promise<void>;
  /** kill -9. */
  kill(): void;
  /** As at SIGTERM: sandboxes go on. */
  stop(): Promise<void>;
}

export interface ProcessOptions {
  clock: ModelClock;
  random: Random;
  forge: ModelForge;
  host: ModelHost;
  storePath: string;
  log: Logger;
  pools: () => PoolView[];
  capacity: HostCapacity;
  history: { runners: number; days: number };
  faultPoint: FaultPoint;
}

/** The real orchestrator (plan, loop, records, steps, store, channels, watcher), in a life of its own. */
export function startProcess(options: ProcessOptions): ModelProcess {
  const { log, random } = options;
  const life: Life = { ended: false };
  const clock = options.clock.fork();
  const database = openStore({ path: options.storePath, clock, boot: "one boot", log });
  const store = mortalSync(life, database);
  const records = createRecords({ store, clock, log });
  const driver = options.host.driver(life, clock);
  const target = mortal(life, options.forge.target);
  let loop: Loop | undefined;
  const wake = () => loop?.wake();
  const attendance = createAttendance({ records, logs: NO_LOGS, driver: () => driver, clock, log, wake });
  const watcher = watchForge({
    target,
    hostId: HOST_ID,
    labels: () => [...new Set(options.pools().flatMap(({ pool }) => pool.labels))],
    describeMode: ({ version }) => version,
    interval: 10_000,
    pace: (interval) => interval,
    clock,
    log,
    wake,
    emit: (event) => records.emit(event),
  });
  const document = (runner: Runner, secrets?: RunnerSecrets): Promise<MetadataDocument> =>
    Promise.resolve({
      runner: runner.id,
      ...(secrets === undefined || runner.registration.phase !== "active" ? {} : { token: secrets.token }),
    });
  const execute: ExecuteDeps = {
    clock,
    log,
    store,
    records,
    attendance,
    logs: NO_LOGS,
    target: () => target,
    driver: () => driver,
    document,
    filesBeforeBoot: () => ({}),
    distrust: () => undefined,
    saidRowsStay: new WeakSet(),
  };
  loop = createLoop({
    freshHex: () => newHex(HOST_ID, (digits) => random.hex(digits)),
    clock,
    log,
    store,
    records,
    attendance,
    logs: NO_LOGS,
    execute,
    drivers: new Map([["fake", driver]]),
    desired: () => ({
      pools: options.pools(),
      host: options.capacity,
      fleet: ALONE,
      watchers: new Map([[TARGET, watcher]]),
      history: options.history,
    }),
    faultPoint: (step, point) => {
      if (!life.ended) options.faultPoint(step, point);
    },
  });
  const running = loop;

  return {
    loop: running,
    records,
    watcher,
    life,
    started: running.start().then(() => {
      // As the composition does when a driver is ready.
      for (const runner of records.all()) {
        if (runner.sandbox.phase !== "running") continue;
        const secrets = runner.credentials === "given" ? store.secrets(runner.id) : undefined;
        serveAgain(driver, runner, document(runner, secrets), log);
      }
    }),
    kill: () => {
      life.ended = true;
      clock.end();
      void driver.close();
      database.close();
    },
    stop: async () => {
      await running.stop();
      await attendance.close();
      await watcher.stop();
      life.ended = true;
    },
  };
}

const NO_LOGS: LogBook = { append: () => undefined, done: () => undefined, tail: () => "", close: () => undefined };
