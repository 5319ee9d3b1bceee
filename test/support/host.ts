import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { atExit } from "../../src/base/at-exit.ts";
import type { Places } from "../../src/base/names.ts";
import { kill } from "../../src/base/process.ts";
import { type HttpAnswer, unixRequest } from "../../src/base/unix-http.ts";
import type { ForgeSimulator, ForgeSimulatorOptions } from "../../src/forge-simulator/simulator.ts";
import { FAKE_POOL, giteaWithRepository, temporaryDirectory } from "./orchestrator.ts";
import { processesBelow } from "./remains.ts";

const PROGRAM = join(import.meta.dirname, "../../src/main.ts");

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** `fireteact serve` as a process of its own. */
export interface Daemon {
  process: ChildProcess;
  exit: Promise<Exit>;
  ended(): boolean;
  /** All that it wrote to stderr. */
  output(): string;
  call(method: string, path: string): Promise<HttpAnswer>;
  /** Runners as the API shows them; empty while nobody answers. */
  runners(): Promise<RunnerView[]>;
}

export interface RunnerView {
  id: string;
  pool: string;
  status: string;
  phase: string;
}

export interface HostOptions {
  /** Keys of the configuration that take the place of the usual ones. */
  config?: Record<string, unknown>;
  forge?: Partial<ForgeSimulatorOptions>;
  /** What Node runs as the daemon, given the configuration file. */
  command?: (config: string) => string[];
  places?: Places;
  /** Milliseconds that things may take; 30 s. */
  timeout?: number;
}

/** A host with a forge: a place for daemons to come and go in. */
export interface Host extends AsyncDisposable {
  directory: string;
  places: Places;
  forge: ForgeSimulator;
  token: string;
  config: string;
  /** Writes the configuration anew; `over` replaces keys of it. */
  configure(over?: Record<string, unknown>): void;
  daemon(): Daemon;
  /** Waits until a daemon of this host answers and its pools are usable. */
  serving(): Promise<Daemon>;
  /** Waits until `condition` holds; fails with what was expected and what the daemons said. */
  until(expected: string, condition: () => boolean | Promise<boolean>, timeout?: number): Promise<void>;
  /** Processes of daemons that run. */
  daemons(): number[];
  /** What all daemons wrote, one after the other. */
  output(): string;
}

const TIMEOUT = 30_000;

export async function openHost(options: HostOptions = {}): Promise<Host> {
  const directory = temporaryDirectory();
  const { forge, token } = await giteaWithRepository(options.forge);
  const config = join(directory.path, "config.yaml");
  const places = options.places ?? { state: join(directory.path, "state"), run: join(directory.path, "run") };
  const command = options.command ?? ((file: string) => [PROGRAM, "serve", "-c", file]);
  const daemons: Daemon[] = [];
  const configure = (over: Record<string, unknown> = {}) =>
    writeFileSync(
      config,
      stringify({
        gitea: { instanceURL: forge.url, apiToken: token, runnerScope: "instance" },
        pollInterval: "1s",
        logLevel: "debug",
        server: { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0" },
        pools: [FAKE_POOL],
        ...options.config,
        ...over,
      }),
      { mode: 0o600 },
    );
  configure();
  const daemon = (): Daemon => {
    const started = startDaemon(command(config), places);
    daemons.push(started);
    return started;
  };
  const output = () => daemons.map((each) => each.output()).join("\n--- the next daemon ---\n");
  const until: Host["until"] = async (expected, condition, timeout = options.timeout ?? TIMEOUT) => {
    const end = performance.now() + timeout;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${expected}\n${output()}`);
      await sleep(20);
    }
  };
  const endAll = () => {
    for (const each of daemons) each.process.kill("SIGKILL");
    for (const { pid } of processesBelow([places.run, places.state, directory.path])) kill(pid, "SIGKILL");
    directory[Symbol.dispose]();
  };
  const takeBack = atExit(endAll);
  return {
    directory: directory.path,
    places,
    forge,
    token,
    config,
    configure,
    daemon,
    serving: async () => {
      const started = daemon();
      await until("the daemon serves", async () => {
        if (started.ended()) throw new Error(`the daemon ended:\n${started.output()}`);
        const answer = await started.call("GET", "/api/v1/pools").catch(() => undefined);
        return answer?.status === 200 && answer.body.includes('"usable":true');
      });
      return started;
    },
    until,
    daemons: () => daemons.filter((each) => !each.ended()).map((each) => each.process.pid ?? 0),
    output,
    [Symbol.asyncDispose]: async () => {
      takeBack();
      for (const { process: child, exit } of daemons) {
        child.kill("SIGKILL");
        await exit;
      }
      endAll();
      await forge.close();
    },
  };
}

function startDaemon(command: string[], places: Places): Daemon {
  const env = { ...process.env, FIRETEACT_STATE_DIR: places.state, FIRETEACT_RUN_DIR: places.run };
  const child = spawn(process.execPath, command, { env, stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  let ended = false;
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.once("exit", () => {
    ended = true;
  });
  const exit = new Promise<Exit>((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const socketPath = join(places.run, "api.sock");
  const call = (method: string, path: string) => unixRequest({ socketPath, method, path });
  return {
    process: child,
    exit,
    ended: () => ended,
    output: () => output,
    call,
    runners: async () => {
      const answer = await call("GET", "/api/v1/runners").catch(() => undefined);
      if (answer?.status !== 200) return [];
      return (JSON.parse(answer.body) as { runners: RunnerView[] }).runners;
    },
  };
}
