import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach } from "vitest";
import { stringify } from "yaml";
import { ignore } from "../../src/base/errors.ts";
import { type HttpAnswer, unixRequest } from "../../src/base/unix-http.ts";
import type { ForgeSimulator } from "../../src/forge-simulator/simulator.ts";
import { FAKE_POOL, giteaWithRepository, temporaryDirectory } from "./orchestrator.ts";

const PROGRAM = join(import.meta.dirname, "../../src/main.ts");

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** `fireteact serve` as a process of its own. */
export interface Daemon {
  process: ChildProcess;
  exit: Promise<Exit>;
  /** All that it wrote to stderr. */
  output(): string;
  call(method: string, path: string): Promise<HttpAnswer>;
  /** Runners as the API shows them; empty while nobody answers. */
  runners(): Promise<{ id: string; status: string; phase: string }[]>;
}

/** A host with a forge: a place for daemons to come and go in. */
export interface Host {
  directory: string;
  forge: ForgeSimulator;
  token: string;
  config: string;
  /** Writes the configuration anew; `over` replaces keys of it. */
  configure(over?: Record<string, unknown>): void;
  daemon(): Daemon;
  /** Waits until a daemon of this host answers and its pools are usable. */
  serving(): Promise<Daemon>;
  /** Waits until `condition` holds; fails with what was expected and what the daemons said. */
  until(expected: string, condition: () => boolean | Promise<boolean>): Promise<void>;
  /** What is left of sandboxes: directories, disks and processes that name this host's directory. */
  leftovers(): string[];
}

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

export async function createHost(over: Record<string, unknown> = {}): Promise<Host> {
  const directory = temporaryDirectory();
  const { forge, token } = await giteaWithRepository();
  const config = join(directory.path, "config.yaml");
  const ports = [await freePort(), await freePort()];
  const places = { state: join(directory.path, "state"), run: join(directory.path, "run") };
  const daemons: Daemon[] = [];
  const configure = (changes: Record<string, unknown> = {}) =>
    writeFileSync(
      config,
      stringify({
        gitea: { instanceURL: forge.url, apiToken: token, runnerScope: "instance" },
        pollInterval: "1s",
        logLevel: "debug",
        server: { address: `127.0.0.1:${ports[0]}`, metricsAddress: `127.0.0.1:${ports[1]}` },
        pools: [FAKE_POOL],
        ...over,
        ...changes,
      }),
      { mode: 0o600 },
    );
  configure();
  const daemon = (): Daemon => {
    const started = startDaemon(config, places);
    daemons.push(started);
    return started;
  };
  opened.push(async () => {
    for (const { process: child, exit } of daemons) {
      child.kill("SIGKILL");
      await exit;
    }
    for (const pid of processesAt(directory.path)) kill(pid);
    await forge.close();
    directory[Symbol.dispose]();
  });
  return {
    directory: directory.path,
    forge,
    token,
    config,
    configure,
    daemon,
    serving: async () => {
      const started = daemon();
      await until("the daemon serves", async () => {
        if (started.process.exitCode !== null) throw new Error(`the daemon ended:\n${started.output()}`);
        const answer = await started.call("GET", "/api/v1/pools").catch(() => undefined);
        return answer?.status === 200 && answer.body.includes('"usable":true');
      });
      return started;
    },
    until: async (expected, condition) => {
      try {
        await until(expected, condition);
      } catch (error) {
        throw new Error(daemons.map((each) => each.output()).join("\n--- the next daemon ---\n"), { cause: error });
      }
    },
    leftovers: () => [
      ...list(join(places.run, "sandboxes")),
      ...list(join(places.state, "disks")),
      ...processesAt(directory.path).map((pid) => `process ${pid}`),
    ],
  };
}

async function until(expected: string, condition: () => boolean | Promise<boolean>, timeout = 30_000): Promise<void> {
  const end = performance.now() + timeout;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${expected}`);
    await sleep(20);
  }
}

function startDaemon(config: string, places: { state: string; run: string }): Daemon {
  const env = { ...process.env, FIRETEACT_STATE_DIR: places.state, FIRETEACT_RUN_DIR: places.run };
  const child = spawn(process.execPath, [PROGRAM, "serve", "-c", config], { env, stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const exit = new Promise<Exit>((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  const socketPath = join(places.run, "api.sock");
  const call = (method: string, path: string) => unixRequest({ socketPath, method, path });
  return {
    process: child,
    exit,
    output: () => output,
    call,
    runners: async () => {
      const answer = await call("GET", "/api/v1/runners").catch(() => undefined);
      if (answer?.status !== 200) return [];
      return (JSON.parse(answer.body) as { runners: { id: string; status: string; phase: string }[] }).runners;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

const list = (directory: string): string[] => {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
};

/** Processes with the directory in their command line, this one and daemons apart. */
function processesAt(directory: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const line = commandLine(pid);
      return line.includes(directory) && !line.includes(PROGRAM);
    });
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch (error) {
    return ignore("ENOENT", "ESRCH")(error) ?? "";
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    ignore("ESRCH")(error);
  }
}
