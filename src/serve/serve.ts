import { hostname } from "node:os";
import type { Hono } from "hono";
import { createApi, createMetricsApp } from "../api/app.ts";
import type { ApiDeps } from "../api/port.ts";
import { bootId, systemClock } from "../base/clock.ts";
import { describe, FireteactError } from "../base/errors.ts";
import { createLogger, type Logger } from "../base/log.ts";
import type { Places } from "../base/names.ts";
import { loadConfig } from "../config/load.ts";
import { openSecret } from "../config/secret.ts";
import type { Settings } from "../core/settings.ts";
import { type Composition, compose } from "./compose.ts";
import { hostId } from "./host-id.ts";
import { closeServer, listenSocket, listenTcp } from "./listeners.ts";
import { createWebhookReceiver } from "./webhook.ts";

export interface ServeOptions {
  configFile: string;
  places: Places;
  version: ApiDeps["version"];
}

/** Drivers that this version can run. */
export const DRIVERS: string[] = ["qemu", "fake"];
/** A drain or kill that begins at SIGTERM must end before a service manager loses patience. */
const KILL_TIMEOUT = 60_000;

/**
 * Runs the orchestrator until a signal ends it; returns the exit code. SIGTERM and SIGINT stop as `shutdown` says, a
 * second one at once; SIGHUP reads the configuration again without touching running jobs.
 */
export async function runServe(options: ServeOptions): Promise<number> {
  const { settings, warnings } = loadConfig(options.configFile, process.env);
  refuseUnknownDrivers(settings);
  const log = createLogger(settings.logLevel);
  for (const warning of warnings) log.warn({ ...warning }, "configuration");
  const id = hostId(options.places.state);
  const composition = await compose({
    settings,
    places: options.places,
    hostId: id,
    boot: bootId(),
    clock: systemClock,
    log,
  });
  const stopping = Promise.withResolvers<Settings["shutdown"]>();
  const listeners = await listen(settings, options.places, composition, options.version, log, () =>
    stopping.resolve("drain"),
  );
  try {
    await composition.start();
    log.info(
      {
        version: options.version.version,
        host: hostname(),
        hostId: id,
        pools: settings.pools.map((pool) => pool.name),
      },
      "fireteact serves",
    );
    const how = await waitForStop(options.configFile, settings, composition, stopping, log);
    await composition.stop(how, how === "kill" ? KILL_TIMEOUT : settings.drainTimeout);
  } finally {
    await Promise.all(listeners.map(closeServer));
    await composition.close();
  }
  log.info("fireteact has stopped");
  return 0;
}

async function listen(
  settings: Settings,
  places: Places,
  composition: Composition,
  version: ApiDeps["version"],
  log: Logger,
  drain: () => void,
) {
  const { tokenFile } = settings.server;
  const deps: ApiDeps = {
    orchestrator: composition.orchestrator,
    version,
    metrics: () => composition.metrics.scrape(),
    drain,
    failed: (error, request) => log.error({ request, cause: describe(error) }, "a request failed"),
    ...(tokenFile === undefined ? {} : { token: () => openSecret({ kind: "file", path: tokenFile }).read() }),
    ...(settings.webhook === undefined
      ? {}
      : { webhook: createWebhookReceiver(settings.webhook.secretFile, composition.targets, log) }),
  };
  // The socket first: it is what keeps a second daemon away.
  const socket = await listenSocket(createApi(deps, "socket"), settings.server.socket ?? `${places.run}/api.sock`);
  const opened = [socket];
  const open = async (app: Hono, address: Settings["server"]["address"], key: string) => {
    opened.push(await listenTcp(app, address, key));
  };
  try {
    await open(createApi(deps, "tcp"), settings.server.address, "server.address");
    await open(createMetricsApp(deps), settings.server.metricsAddress, "server.metricsAddress");
  } catch (error) {
    await Promise.all(opened.map(closeServer));
    await composition.close();
    throw error;
  }
  return opened;
}

function refuseUnknownDrivers(settings: Settings): void {
  const refused = settings.pools.filter((pool) => !DRIVERS.includes(pool.driver));
  if (refused.length === 0) return;
  const list = refused.map((pool) => `${pool.name} (${pool.driver})`).join(", ");
  throw new FireteactError(
    "CONFIG_DRIVER",
    `this version cannot run the pools ${list}: their driver is not built yet`,
    {
      hint: "set 'driver: qemu' in these pools to run them in QEMU microVMs",
    },
  );
}

/** Waits for what ends the program; reloads meanwhile. */
async function waitForStop(
  configFile: string,
  settings: Settings,
  composition: Composition,
  stopping: PromiseWithResolvers<Settings["shutdown"]>,
  log: Logger,
): Promise<Settings["shutdown"]> {
  let current = settings;
  let signals = 0;
  const stop = (signal: NodeJS.Signals) => {
    signals++;
    if (signals > 1) {
      log.warn({ signal }, "told twice: stopping at once");
      process.exit(1);
    }
    log.info({ signal, shutdown: current.shutdown }, "stopping");
    stopping.resolve(current.shutdown);
  };
  const reload = () => {
    try {
      const next = loadConfig(configFile, process.env);
      refuseUnknownDrivers(next.settings);
      for (const warning of next.warnings) log.warn({ ...warning }, "configuration");
      composition.reload(next.settings);
      current = next.settings;
      log.info({ pools: current.pools.map((pool) => pool.name) }, "configuration read again");
    } catch (error) {
      log.error({ cause: describe(error) }, "the configuration could not be read again; the old one stays in force");
    }
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("SIGHUP", reload);
  return stopping.promise;
}
