import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** The built program in a directory of its own. */
export function buildProgram() {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-"));
  const root = new URL("../../../", import.meta.url).pathname;
  execFileSync(process.execPath, [join(root, "tools/build.ts"), join(directory, "dist")], { stdio: "pipe" });
  const main = join(directory, "dist", "main.cjs");
  const env = {
    PATH: process.env["PATH"] ?? "",
    COLUMNS: "80",
    FIRETEACT_STATE_DIR: join(directory, "state"),
    FIRETEACT_RUN_DIR: join(directory, "run"),
  };

  /** Runs one command to its end. */
  const fireteact = (...args: string[]): Promise<Outcome> =>
    new Promise((resolve) => {
      execFile(process.execPath, [main, ...args], { env, timeout: 30_000 }, (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, stdout, stderr });
      });
    });

  /** Starts the daemon with one pool of the driver `fake`, and waits until it answers. */
  const startDaemon = async (forge: ForgeSimulator, token: string, pool: Record<string, unknown>) => {
    const file = join(directory, "config.yaml");
    const gitea = { instanceURL: forge.url, apiToken: token, runnerScope: "instance" };
    const tokenFile = join(directory, "token");
    writeFileSync(tokenFile, "api-token", { mode: 0o600 });
    const server = { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0", tokenFile };
    writeFileSync(file, stringify({ gitea, server, pollInterval: "1s", shutdown: "drain", pools: [pool] }), {
      mode: 0o600,
    });
    const child = spawn(process.execPath, [main, "-c", file], { env, stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => {
      log += chunk.toString();
    });
    const ended = new Promise<number>((resolve) => child.once("exit", (code) => resolve(code ?? -1)));
    const stop = async (): Promise<number> => {
      child.kill("SIGTERM");
      return await ended;
    };
    for (let tries = 0; tries < 100; tries++) {
      if ((await fireteact("pools")).code === 0) return { file, ended, stop, log: () => log };
      await sleep(100);
    }
    await stop();
    throw new Error(`the daemon does not answer:\n${log}`);
  };
  return {
    directory,
    fireteact,
    startDaemon,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
