import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { connectChannel, type HostChannel } from "../../../src/channel/host.ts";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { bundle } from "./bundle.ts";

const programs = await bundle({ agent: "src/agent/main.ts", "shell-engine": "src/agent/engines/shell/main.ts" });

/** A sandbox without walls: a real agent process with a metadata service and a host around it. */
export interface World {
  /** Served under /latest/meta-data/fireteact; undefined is 404. */
  metadata: Record<string, unknown> | undefined;
  folder: string;
  workDir: string;
  events: AgentEvent[];
  kinds(): string[];
  channel: HostChannel;
  agent: ChildProcess;
  output(): string;
  exitCode: Promise<number | null>;
  until(condition: () => boolean, what: string): Promise<void>;
  end(): Promise<void>;
}

export const RUNNER = {
  runner_name: "fireteact-1",
  gitea_instance_url: "http://127.0.0.1:9",
  registration_token: "unused",
};
export const CREDENTIALS = {
  row: "7",
  uuid: "u",
  token: "t-secret",
  address: "http://127.0.0.1:9",
  labels: "a:host",
  ephemeral: "true",
};

export async function createWorld(options: {
  metadata?: Record<string, unknown>;
  mode?: string;
  args?: string[];
}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "agent-"));
  chmodSync(folder, 0o755);
  const workDir = join(folder, "work");
  mkdirSync(workDir);
  chmodSync(workDir, 0o777);
  if (options.mode !== undefined) writeFileSync(join(workDir, "ACT_MODE"), options.mode);
  cpSync(join(import.meta.dirname, "fixtures/act_runner"), join(folder, "act_runner"));

  const server = createServer((request, response) => {
    const asked = request.method === "PUT";
    response.statusCode = asked || world.metadata !== undefined ? 200 : 404;
    response.end(asked ? "token" : JSON.stringify(world.metadata));
  });
  await new Promise<void>((done) => server.listen(join(folder, "metadata.sock"), done));

  const flags = {
    channel: `unix:${folder}/agent.sock`,
    metadata: `unix:${folder}/metadata.sock`,
    "work-dir": workDir,
    config: join(folder, "config.yaml"),
    "act-runner": join(folder, "act_runner"),
    owner: "nobody",
    group: "nogroup",
    "environment-file": join(folder, "environment"),
    "retry-wait": "100ms",
  };
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const main = join(programs, "agent.cjs");
  const agent = spawn(process.execPath, [main, "runner", ...args, ...(options.args ?? [])], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  agent.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  agent.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exitCode = new Promise<number | null>((done) => agent.once("close", (code) => done(code)));

  const events: AgentEvent[] = [];
  const channel = connectChannel({
    dial: async () => {
      const socket = connect(join(folder, "agent.sock"));
      await new Promise<void>((done, failed) => socket.once("connect", done).once("error", failed));
      return socket;
    },
    onEvent: (event) => void events.push(event),
    nextSeq: 0,
    clock: systemClock,
    log: silentLogger,
  });

  const world: World = {
    metadata: options.metadata,
    folder,
    workDir,
    events,
    kinds: () => events.filter((event) => event.kind !== "log").map((event) => event.kind),
    channel,
    agent,
    output: () => output,
    exitCode,
    async until(condition, what) {
      const deadline = performance.now() + 15_000;
      while (!condition()) {
        if (performance.now() > deadline)
          throw new Error(`not within 15 s: ${what}\n${output}\n${JSON.stringify(events)}`);
        await systemClock.sleep(5);
      }
    },
    async end() {
      await channel.close();
      agent.kill("SIGKILL");
      await exitCode;
      await new Promise((done) => server.close(done));
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return world;
}
