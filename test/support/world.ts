import { afterEach } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import type { Logger, LogLevel } from "../../src/base/log.ts";
import { createLogger } from "../../src/base/log.ts";
import type { Settings } from "../../src/core/settings.ts";
import type { DriverName, Runner } from "../../src/core/types.ts";
import type { ForgeSimulator, ForgeSimulatorOptions } from "../../src/forge-simulator/simulator.ts";
import type { Orchestrator } from "../../src/orchestrator/port.ts";
import type { SandboxDriver } from "../../src/sandbox/port.ts";
import type { Composition } from "../../src/serve/compose.ts";
import {
  eventually,
  FAKE_POOL,
  giteaWithRepository,
  settingsFor,
  startOrchestrator,
  temporaryDirectory,
} from "./orchestrator.ts";
import { createScriptedDriver, type Script, type ScriptedDriver } from "./scripted/driver.ts";

export interface WorldOptions {
  pools?: Record<string, unknown>[];
  script?: Partial<Script>;
  forge?: Partial<ForgeSimulatorOptions>;
  extra?: Record<string, unknown>;
  /** Milliseconds between two reads of the forge. */
  poll?: number;
  /** A world whose forge this one shares. */
  beside?: World;
  hostId?: string;
  /** The orchestrator's; the forge and the sandboxes have the system's. */
  clock?: Clock;
  /** Only the forge at first; `start` begins. */
  idle?: boolean;
  /** Whoever makes it calls `end`, as tests have to that run beside others. */
  lasting?: boolean;
}

/** A forge, sandboxes that live in the test, and an orchestrator that may come and go between them. */
export interface World {
  forge: ForgeSimulator;
  token: string;
  directory: string;
  script: Script;
  scripted: ScriptedDriver;
  /** Everything that was logged, as objects. */
  lines: LogLine[];
  readonly composition: Composition;
  readonly orchestrator: Orchestrator;
  runners(): Runner[];
  history(): Runner[];
  start(over?: { pools?: Record<string, unknown>[]; extra?: Record<string, unknown> }): Promise<void>;
  /** Settings with other pools or keys, to reload. */
  settings(over: { pools?: Record<string, unknown>[]; extra?: Record<string, unknown> }): Settings;
  /** Stops the orchestrator as `detach` does; sandboxes go on. */
  stop(): Promise<void>;
  /** Removes everything; does it by itself after the test, unless it is to last. */
  end(): Promise<void>;
  /** Pushes a workflow of jobs: a name with its labels. */
  push(jobs: Record<string, string[]>): Promise<Awaited<ReturnType<ForgeSimulator["pushWorkflow"]>>>;
  /** Waits until nothing is left, neither here nor in the forge. */
  cleared(): Promise<void>;
}

export interface LogLine {
  level: LogLevel;
  msg: string;
  [field: string]: unknown;
}

const POLL = 150;

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

/** Everything it makes is gone after the test. */
export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const directory = temporaryDirectory();
  const { forge, token } = options.beside ?? (await giteaWithRepository(options.forge));
  const script: Script = { bootTime: 2, fetchInterval: 10, jobTime: 10, ...options.script };
  const scripted = createScriptedDriver(script);
  const lines: LogLine[] = [];
  let composition: Composition | undefined;
  const running = (): Composition => {
    if (composition === undefined) throw new Error("no orchestrator runs");
    return composition;
  };
  const stop = async () => {
    const stopped = composition;
    composition = undefined;
    await stopped?.stop("detach", 0);
    await stopped?.close();
  };
  const end = async () => {
    await stop();
    await scripted.end();
    if (options.beside === undefined) await forge.close();
    directory[Symbol.dispose]();
  };
  if (options.lasting !== true) opened.push(end);

  const configured = (over: { pools?: Record<string, unknown>[]; extra?: Record<string, unknown> }) => ({
    directory: directory.path,
    forge,
    token,
    pools: over.pools ?? options.pools ?? [FAKE_POOL],
    extra: { ...options.extra, ...over.extra },
    pollInterval: options.poll ?? POLL,
  });

  const world: World = {
    forge,
    token,
    directory: directory.path,
    script,
    scripted,
    lines,
    get composition() {
      return running();
    },
    get orchestrator() {
      return running().orchestrator;
    },
    runners: () => running().orchestrator.runners(),
    history: () =>
      running()
        .orchestrator.history(1_000)
        .map(({ runner }) => runner),
    start: async (over = {}) => {
      composition = await startOrchestrator({
        ...configured(over),
        drivers: new Map<DriverName, SandboxDriver>([["fake", scripted.driver]]),
        log: recorder(lines),
        housekeeping: 300,
        ...(options.clock === undefined ? {} : { clock: options.clock }),
        ...(options.hostId === undefined ? {} : { hostId: options.hostId }),
      });
    },
    settings: (over) => settingsFor(configured(over)),
    stop,
    end,
    push: (jobs) => forge.pushWorkflow({ repository: "org/app", yaml: workflow(jobs) }),
    cleared: async () => {
      await eventually("no record is left", () => running().orchestrator.runners().length === 0, 20_000);
      await eventually("no row is left", () => forge.runners("existing").length === 0);
      await eventually("no sandbox is left", () => scripted.running() === 0);
    },
  };
  if (options.idle !== true) await world.start();
  return world;
}

function recorder(lines: LogLine[]): Logger {
  const print = process.env["TEST_LOG"] !== undefined;
  return createLogger(print ? "debug" : "info", {
    write: (line) => {
      lines.push(JSON.parse(line) as LogLine);
      if (print) process.stderr.write(line);
    },
  });
}

function workflow(jobs: Record<string, string[]>): string {
  const list = Object.entries(jobs).map(
    ([name, labels]) => `  ${name}:\n    runs-on: [${labels.join(", ")}]\n    steps: [{ run: "true" }]\n`,
  );
  return `on: push\njobs:\n${list.join("")}`;
}

/** `count` jobs with the same labels, by name. */
export function many(count: number, labels: string[], prefix = "job"): Record<string, string[]> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`${prefix}${index}`, labels]));
}

/** Every job of the forge ended once, by the word of its own runner, and no runner had two. */
export function attemptsOf(forge: ForgeSimulator): { job: string; runner: string; endedBy: unknown }[] {
  return forge
    .jobs()
    .flatMap((job) => job.attempts.map(({ runner, endedBy }) => ({ job: job.key, runner: runner.name, endedBy })));
}
