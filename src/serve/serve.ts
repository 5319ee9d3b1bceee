import { hostname } from "node:os";
import type { ApiDeps } from "../api/port.ts";
import { bootId, systemClock } from "../base/clock.ts";
import { describe } from "../base/errors.ts";
import { createLogger, type Logger } from "../base/log.ts";
import type { Places } from "../base/names.ts";
import { openSecret } from "../config/secret.ts";
import type { Settings } from "../core/settings.ts";
import { claimState } from "../store/claim.ts";
import { type ComposeOptions, type Composition, compose } from "./compose.ts";
import { takeDoors } from "./doors.ts";
import { hostId } from "./host-id.ts";
import { checkOpenFiles } from "./open-files.ts";
import { loadServable } from "./servable.ts";
import { listenToSignals } from "./signals.ts";
import { createWebhookReceiver } from "./webhook.ts";

export interface ServeOptions extends Pick<ComposeOptions, "faultPoint" | "housekeeping"> {
  configFile: string;
  places: Places;
  version: ApiDeps["version"];
}

/** A drain or kill that begins at SIGTERM must end before a service manager loses patience. */
const KILL_TIMEOUT = 60_000;

/**
 * Runs the orchestrator until a signal ends it; returns the exit code. SIGTERM and SIGINT stop as `shutdown` says, a
 * second one at once; SIGHUP reads the configuration again without touching running jobs.
 */
export async function runServe(options: ServeOptions): Promise<number> {
  const { settings, warnings } = loadServable(options.configFile);
  const log = createLogger(settings.logLevel);
  for (const warning of warnings) log.warn({ ...warning }, "configuration");
  const fewFiles = checkOpenFiles(settings);
  if (fewFiles !== undefined) log.warn({ detail: fewFiles }, "few files may be open");
  const { places } = options;
  await using stack = new AsyncDisposableStack();
  const claim = claimState(places.state);
  stack.defer(() => claim.release());
  // Before anything is built, so that a daemon that cannot serve leaves no trace.
  const doors = await takeDoors(settings.server, settings.server.socket ?? `${places.run}/api.sock`);
  stack.defer(() => doors.close());
  const signals = listenToSignals(options.configFile, settings, log);
  stack.defer(() => signals.close());
  const id = hostId(places);
  const composition = await compose({
    settings,
    places,
    hostId: id,
    boot: bootId(),
    clock: systemClock,
    log,
    noProxy: process.env["NO_PROXY"] ?? process.env["no_proxy"],
    ...(options.faultPoint === undefined ? {} : { faultPoint: options.faultPoint }),
    ...(options.housekeeping === undefined ? {} : { housekeeping: options.housekeeping }),
  });
  stack.defer(() => composition.close());
  stack.defer(() => doors.close());

  doors.open(apiDeps(settings, composition, options.version, log, () => signals.drain()));
  await composition.start();
  const pools = settings.pools.map((pool) => pool.name);
  log.info({ version: options.version.version, host: hostname(), hostId: id, pools }, "fireteact serves");
  const { how, drainTimeout } = await signals.stop((next) => composition.reload(next));
  await composition.stop(how, how === "kill" ? KILL_TIMEOUT : drainTimeout, signals.interrupted);
  await stack.disposeAsync();
  log.info("fireteact has stopped");
  return 0;
}

function apiDeps(
  settings: Settings,
  composition: Composition,
  version: ApiDeps["version"],
  log: Logger,
  drain: () => void,
): ApiDeps {
  const { tokenFile } = settings.server;
  const { webhook } = settings;
  return {
    orchestrator: composition.orchestrator,
    version,
    metrics: () => composition.metrics.scrape(),
    drain,
    failed: (error, request) => log.error({ request, cause: describe(error) }, "a request failed"),
    ...(tokenFile === undefined ? {} : { token: () => openSecret({ kind: "file", path: tokenFile }).read() }),
    ...(webhook === undefined ? {} : { webhook: createWebhookReceiver(webhook.secretFile, composition.targets, log) }),
  };
}
