import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { type HttpAnswer, unixRequest } from "../../../src/base/unix-http.ts";
import { MINUTE, PLACES } from "./host.ts";
import { ENVIRONMENT, PROGRAM } from "./program.ts";

/** A runner as the API shows it. */
export interface RunnerView {
  id: string;
  name: string;
  pool: string;
  status: string;
  phase: string;
  vm_id?: string;
  ip_address?: string;
  /** Phase to ISO time. */
  timeline: Record<string, string>;
  result?: string;
  ending?: { reason: string; detail: string };
  exit?: { code: number | null };
}

/** `fireteact serve` as a process of its own, seen over its socket. */
export interface Daemon {
  pid: number;
  call(method: string, path: string): Promise<HttpAnswer>;
  get<T>(path: string): Promise<T>;
  /** Runners that are not closed. */
  runners(): Promise<RunnerView[]>;
  /** Closed runners, the newest first. */
  history(): Promise<RunnerView[]>;
  /** Engine and console output of a runner. */
  logs(runner: string): Promise<{ engine: string; console: string }>;
  /** Looks until there is something; rejects in time, and at once when the daemon has ended, with what it said last. */
  until<T>(what: string, look: () => T | undefined | Promise<T | undefined>, within?: number): Promise<T>;
  /** Everything it logged. */
  log(): string;
  /** SIGTERM; resolves with its exit code. */
  stop(): Promise<number | null>;
}

const CONFIG = join(PLACES.state, "config.yaml");
const LOG = join(PLACES.state, "serve.log");
const SOCKET = join(PLACES.run, "api.sock");

export async function startDaemon(config: Record<string, unknown>): Promise<Daemon> {
  mkdirSync(PLACES.state, { recursive: true, mode: 0o711 });
  // Each begins without a past.
  for (const suffix of ["", "-wal", "-shm"]) rmSync(join(PLACES.state, `state.db${suffix}`), { force: true });
  rmSync(join(PLACES.state, "logs"), { recursive: true, force: true });
  writeFileSync(CONFIG, stringify(config), { mode: 0o600 });
  const output = openSync(LOG, "w", 0o600);
  const child = spawn(process.execPath, [PROGRAM, "serve", "--config", CONFIG], {
    stdio: ["ignore", "ignore", output],
    env: ENVIRONMENT,
  });
  closeSync(output);
  let running = true;
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => {
      running = false;
      resolve(code);
    });
    child.once("error", () => resolve(null));
  });
  const log = (): string => readFileSync(LOG, "utf8");
  const call = (method: string, path: string) => unixRequest({ socketPath: SOCKET, method, path, timeout: MINUTE / 2 });
  const get = async <T>(path: string): Promise<T> => {
    const { status, body } = await call("GET", path);
    if (status >= 300) throw new Error(`the daemon answered ${status} to ${path}: ${body.slice(0, 200)}`);
    return JSON.parse(body) as T;
  };
  const until: Daemon["until"] = async (what, look, within = 3 * MINUTE) => {
    const end = performance.now() + within;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (running && performance.now() < end) {
        await sleep(100);
        continue;
      }
      const why = running ? `within ${within / 1_000} s` : `and the daemon has ended (${child.exitCode})`;
      throw new Error(
        `waited in vain for ${what} ${why}. The daemon said:\n${log().split("\n").slice(-40).join("\n")}`,
      );
    }
  };
  const daemon: Daemon = {
    pid: child.pid ?? 0,
    call,
    get,
    runners: async () => (await get<{ runners: RunnerView[] }>("/api/v1/runners")).runners,
    history: async () => (await get<{ runners: RunnerView[] }>("/api/v1/history?limit=100")).runners,
    logs: (runner) => get(`/api/v1/runners/${runner}/logs`),
    until,
    log,
    stop: async () => {
      if (running) child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), 2 * MINUTE);
      const code = await ended;
      clearTimeout(killer);
      return code;
    },
  };
  try {
    // The API answers before the pools are ready.
    const answers = () => get("/api/v1/pools").catch(() => undefined);
    await until("the API", answers, MINUTE / 2);
    await until("usable pools", async () => {
      const { pools } = await get<{ pools: { usable: boolean; detail?: string }[] }>("/api/v1/pools");
      return pools.every(({ usable }) => usable) ? true : undefined;
    });
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}
