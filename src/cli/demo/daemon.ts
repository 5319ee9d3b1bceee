import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { FireteactError } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { unixRequest } from "../../base/unix-http.ts";

/** `fireteact serve` as a process of its own, as it runs in production. */
export interface DemoDaemon {
  get<T>(path: string): Promise<T>;
  /** Rejects when the daemon ends by itself. */
  ended: Promise<number>;
  /** Ends it with SIGTERM and waits. */
  stop(): Promise<void>;
  logFile: string;
}

export async function startDaemon(places: Places, config: Record<string, unknown>): Promise<DemoDaemon> {
  mkdirSync(places.state, { recursive: true, mode: 0o711 });
  // Each demo begins without a past: back-off and history of the last one are not its own.
  for (const suffix of ["", "-wal", "-shm"]) rmSync(join(places.state, `state.db${suffix}`), { force: true });
  const configFile = join(places.state, "config.yaml");
  const logFile = join(places.state, "serve.log");
  const socketPath = join(places.run, "api.sock");
  writeFileSync(configFile, stringify({ ...config, server: { ...SILENT, socket: socketPath } }), { mode: 0o600 });
  const output = openSync(logFile, "w", 0o600);
  // With the flags that bin/fireteact gives Node.
  const program = [...process.execArgv, realpathSync(process.argv[1] ?? "")];
  const child = spawn(process.execPath, [...program, "serve", "--config", configFile], {
    stdio: ["ignore", "ignore", output],
    // Ctrl-C is for the demo, which then stops the daemon in good order.
    detached: true,
    env: { ...process.env, FIRETEACT_STATE_DIR: places.state, FIRETEACT_RUN_DIR: places.run },
  });
  closeSync(output);
  const ended = new Promise<number>((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
  const get = async <T>(path: string): Promise<T> => {
    const { status, body } = await unixRequest({ socketPath, path });
    if (status >= 300) throw new Error(`the daemon answered ${status} to ${path}: ${body.slice(0, 200)}`);
    return JSON.parse(body) as T;
  };
  await answering(get, child, logFile);
  return {
    get,
    ended,
    logFile,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Free ports on loopback: the demo uses the socket. */
const SILENT = { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0" };
const START_TIMEOUT = 15_000;

async function answering(
  get: (path: string) => Promise<unknown>,
  child: { exitCode: number | null; kill: () => void },
  logFile: string,
) {
  const end = performance.now() + START_TIMEOUT;
  for (;;) {
    try {
      await get("/api/v1/pools");
      return;
    } catch (error) {
      if (child.exitCode === null && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      child.kill();
      throw new FireteactError("DEMO_DAEMON", "'fireteact serve' did not start", {
        cause: error,
        hint: `it said:\n${lastLines(logFile)}`,
      });
    }
  }
}

export function lastLines(file: string, count = 5): string {
  return readFileSync(file, "utf8").trim().split("\n").slice(-count).join("\n");
}
