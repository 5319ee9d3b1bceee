import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { unixRequest } from "../src/base/unix-http.ts";
import { ROOT, until } from "./harness.ts";

/** `fireteact serve` as it is shipped, in a process of its own, with pools of fake sandboxes. */
export interface BenchDaemon {
  pid: number;
  /** Runners whose agent is up and that wait for a job; 0 while the daemon is too busy to say. */
  idle(): Promise<number>;
  /** Ends it with everything that it runs. */
  [Symbol.asyncDispose](): Promise<void>;
}

const PROGRAM = join(ROOT, "bin", "fireteact");
const AGENT = join(import.meta.dirname, "fixtures", "agent.pl");

export async function startDaemon(directory: string, config: Record<string, unknown>): Promise<BenchDaemon> {
  if (!existsSync(join(ROOT, "dist", "main.cjs")))
    throw new Error("dist/main.cjs is missing: run 'npm run build' first");
  const socketPath = join(directory, "api.sock");
  const configFile = join(directory, "config.yaml");
  const logFile = join(directory, "serve.log");
  const server = { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0", socket: socketPath };
  mkdirSync(join(directory, "state"), { recursive: true });
  writeFileSync(configFile, stringify({ ...config, server, shutdown: "kill", logLevel: "warn" }));
  const output = openSync(logFile, "w");
  const child = spawn(PROGRAM, ["serve", "--config", configFile], {
    stdio: ["ignore", output, output],
    env: {
      ...process.env,
      FIRETEACT_STATE_DIR: join(directory, "state"),
      FIRETEACT_RUN_DIR: join(directory, "run"),
      FIRETEACT_FAKE_AGENT: AGENT,
    },
  });
  closeSync(output);
  const said = () => readFileSync(logFile, "utf8").trim().split("\n").slice(-5).join("\n");
  const get = async <T>(path: string): Promise<T> => {
    const { status, body } = await unixRequest({ socketPath, path });
    if (status >= 300) throw new Error(`the daemon answered ${status} to ${path}: ${body.slice(0, 200)}`);
    return JSON.parse(body) as T;
  };
  await until(
    "fireteact serve answers",
    async () => {
      if (child.exitCode !== null) throw new Error(`fireteact serve ended:\n${said()}`);
      return get("/api/v1/pools").then(
        () => true,
        () => false,
      );
    },
    { pause: 50 },
  );
  return {
    pid: child.pid ?? 0,
    idle: async () => {
      if (child.exitCode !== null) throw new Error(`fireteact serve ended:\n${said()}`);
      const nobody = { runners: [] };
      const { runners } = await get<{ runners: { status: string }[] }>("/api/v1/runners").catch(() => nobody);
      return runners.filter(({ status }) => status === "idle").length;
    },
    [Symbol.asyncDispose]: () => end(child),
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  await ended;
}
