import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { bootId, type Clock, systemClock } from "../../src/base/clock.ts";
import { createLogger, type Logger, type LogLevel } from "../../src/base/log.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { DriverName } from "../../src/core/types.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../src/forge-simulator/simulator.ts";
import type { SandboxDriver } from "../../src/sandbox/port.ts";
import { type Composition, compose } from "../../src/serve/compose.ts";

export const HOST_ID = "abc123";

/** A directory that vanishes at the end of the scope. */
export function temporaryDirectory(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "fireteact-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A Gitea with an organisation `org`, a repository `org/app` and an administrator's token. */
export async function giteaWithRepository(options: Partial<ForgeSimulatorOptions> = {}) {
  const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1", ...options });
  forge.addUser("root", { admin: true });
  forge.addOrganization("org", { owners: ["root"] });
  await forge.addRepository("org/app", { files: { "README.md": "hello\n" } });
  const token = forge.addToken("root", ["all"]);
  return { forge, token };
}

interface StartOptions {
  directory: string;
  forge: ForgeSimulator;
  token: string;
  pools: Record<string, unknown>[];
  extra?: Record<string, unknown>;
  drivers: Map<DriverName, SandboxDriver>;
  clock?: Clock;
  logLevel?: LogLevel;
  log?: Logger;
  hostId?: string;
  housekeeping?: number;
  /** Milliseconds, shorter than a configuration may say. */
  pollInterval?: number;
  faultPoint?: Parameters<typeof compose>[0]["faultPoint"];
}

/** Writes the configuration into the directory and reads it as `serve` does. */
export function settingsFor(
  options: Pick<StartOptions, "directory" | "forge" | "token" | "pools" | "extra" | "pollInterval">,
) {
  const file = join(options.directory, "config.yaml");
  const gitea = { instanceURL: options.forge.url, apiToken: options.token, runnerScope: "instance" };
  writeFileSync(file, stringify({ gitea, pollInterval: "1s", pools: options.pools, ...options.extra }));
  const { settings } = loadConfig(file, {});
  return { ...settings, pollInterval: options.pollInterval ?? settings.pollInterval };
}

/** The real orchestrator in this process, on a real configuration file, store and forge simulator. */
export async function startOrchestrator(options: StartOptions): Promise<Composition> {
  const settings = settingsFor(options);
  const composition = await compose({
    settings,
    places: { state: join(options.directory, "state"), run: join(options.directory, "run") },
    hostId: options.hostId ?? HOST_ID,
    boot: bootId(),
    clock: options.clock ?? systemClock,
    log: options.log ?? createLogger(options.logLevel ?? (process.env["TEST_LOG"] as LogLevel | undefined) ?? "error"),
    drivers: options.drivers,
    ...(options.housekeeping === undefined ? {} : { housekeeping: options.housekeeping }),
    ...(options.faultPoint === undefined ? {} : { faultPoint: options.faultPoint }),
  });
  await composition.start();
  return composition;
}

/** Waits until `condition` holds, looking every few milliseconds; fails with what was expected. */
export async function eventually(expected: string, condition: () => boolean, timeout = 10_000): Promise<void> {
  const end = performance.now() + timeout;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${expected}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const FAKE_POOL = {
  name: "default",
  driver: "fake",
  engine: "shell",
  minRunners: 0,
  maxRunners: 10,
  runner: { name: "ft", labels: ["linux"] },
};
