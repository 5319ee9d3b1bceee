import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { connectChannel, type HostChannel } from "../../../src/channel/host.ts";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { createForgeTarget } from "../../../src/forge/create.ts";
import type { ForgeTarget } from "../../../src/forge/port.ts";
import { createForgeSimulator, type ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import type { Flavour } from "../../../src/forge-simulator/traits.ts";
import { createMetadataSockets } from "../../../src/sandbox/fake/metadata.ts";
import type { Program } from "./programs.ts";

const LABEL = "x";
/** The agent's own start takes most of a second where two cores are shared. */
const PATIENCE = 40_000;

/** A forge with one repository, and our own client of it. */
export interface Place {
  forge: ForgeSimulator;
  target: ForgeTarget;
  /** Pushes a workflow with one job of these steps; the lines are indented as they come. */
  push(steps: string, job?: string): ReturnType<ForgeSimulator["pushWorkflow"]>;
}

/** A real engine under our agent in a sandbox without walls, as the host sees it. */
export interface Sandbox {
  /** Row of its runner in the forge. */
  row: number;
  events: AgentEvent[];
  /** Kinds of its events but `log`, in order. */
  kinds(): string[];
  /** What the engine wrote. */
  engineLog(): string;
  channel: HostChannel;
  agent: ChildProcess;
  exitCode: Promise<number | null>;
  workDir: string;
  home: string;
  until(kind: AgentEvent["kind"]): Promise<AgentEvent>;
}

export async function openPlace(flavour: Flavour, version: string): Promise<Place> {
  const forge = await createForgeSimulator({ flavour, version });
  onTestFinished(() => forge.close());
  forge.addUser("root", { admin: true });
  forge.addOrganization("acme", { owners: ["root"] });
  await forge.addRepository("acme/site");
  const token = forge.addToken("root", ["all"]);
  const scope = { kind: "org", owner: "acme" } as const;
  const target = createForgeTarget({ key: `${forge.url}#org/acme`, url: forge.url, scope, token: () => token });
  onTestFinished(() => target.close());
  return {
    forge,
    target,
    push: (steps, job = "") =>
      forge.pushWorkflow({
        repository: "acme/site",
        yaml: `on: push\njobs:\n  main:\n    runs-on: ${LABEL}\n${indent(job, 4)}\n    steps:\n${indent(steps, 6)}\n`,
        secrets: { PASSWORD: "hidden-from-logs" },
      }),
  };
}

/**
 * Registers a runner from the host, starts the agent without credentials, and gives it those once it is up.
 * @param options.deleted the forge forgets the runner before the engine starts
 */
export async function startSandbox(
  place: Place,
  program: Program,
  options: { handle?: string; deleted?: boolean } = {},
): Promise<Sandbox> {
  const { handle } = options;
  const folder = mkdtempSync(join(tmpdir(), "engine-"));
  chmodSync(folder, 0o755);
  const [workDir, home, bin] = ["work", "home", "bin"].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [workDir, home, bin]) {
    mkdirSync(path);
    chmodSync(path, 0o777);
  }
  // Where nobody may read it, whoever may enter the checkout.
  cpSync(program.path, join(bin, program.engine));
  writeFileSync(join(folder, "environment"), `HOME=${home}\n`);

  const name = `fireteact-${Math.random().toString(16).slice(2, 10)}`;
  const signal = AbortSignal.timeout(PATIENCE);
  const request = { name, labels: [`${LABEL}:host`], ...(handle === undefined ? {} : { handle }) };
  const registration = await place.target.register(request, signal);
  if (options.deleted === true) await place.target.deleteRunner(registration.row, signal);
  const runner = { runner_name: name, gitea_instance_url: place.forge.url, registration_token: "useless" };
  const waiting = { ...runner, pool_name: "test", engine: program.engine, engine_timeout_seconds: "60" };
  const credentials = {
    row: String(registration.row),
    uuid: registration.uuid,
    token: registration.token,
    address: place.forge.url,
    labels: `${LABEL}:host`,
    ephemeral: "true",
    ...(registration.handle === undefined ? {} : { handle: registration.handle }),
  };
  const metadata = createMetadataSockets();
  const publish = (fireteact: object) =>
    metadata.publish("one", join(folder, "metadata.sock"), { latest: { "meta-data": { fireteact } } });
  await publish(waiting);

  const flags = {
    channel: `unix:${folder}/agent.sock`,
    metadata: `unix:${folder}/metadata.sock`,
    "work-dir": workDir,
    config: join(folder, "config.yaml"),
    "act-runner": join(bin, "gitea-runner"),
    owner: "nobody",
    group: "nogroup",
    "environment-file": join(folder, "environment"),
    "retry-wait": "20s",
  };
  const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  const agent = spawn(process.execPath, ["src/agent/main.ts", "runner", ...args], {
    cwd: join(import.meta.dirname, "../../.."),
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  agent.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exitCode = new Promise<number | null>((done) => agent.once("close", (code) => done(code)));

  const events: AgentEvent[] = [];
  const channel = connectChannel({
    dial: () => dial(join(folder, "agent.sock")),
    onEvent: (event) => void events.push(event),
    nextSeq: 0,
    clock: systemClock,
    log: silentLogger,
  });
  onTestFinished(async () => {
    await channel.close();
    // The second signal ends engine and job; nothing is to be left running.
    agent.kill("SIGTERM");
    agent.kill("SIGINT");
    await exitCode;
    await metadata.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const sandbox: Sandbox = {
    row: registration.row,
    events,
    kinds: () => events.filter((event) => event.kind !== "log").map((event) => event.kind),
    engineLog: () => events.map((event) => (event.kind === "log" ? event.text : "")).join(""),
    channel,
    agent,
    exitCode,
    workDir,
    home,
    until: async (kind) => {
      const find = () => events.find((event) => event.kind === kind);
      const detail = () => `${sandbox.kinds().join(" ")}\n${sandbox.engineLog()}\n${output}`;
      await until(
        () => find() !== undefined,
        () => `the event ${kind}; there is ${detail()}`,
      );
      return find() as AgentEvent;
    },
  };
  await sandbox.until("up");
  await publish({ ...waiting, credentials });
  channel.send({ kind: "metadata" });
  return sandbox;
}

/** Waits for something that tells nobody when it happens. */
export async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${PATIENCE / 1_000} s: ${what()}`);
    await systemClock.sleep(10);
  }
}

async function dial(path: string) {
  const socket = connect(path);
  await new Promise<void>((done, failed) => socket.once("connect", done).once("error", failed));
  return socket;
}

const indent = (text: string, by: number): string => text.trim().replaceAll(/^/gm, " ".repeat(by));
