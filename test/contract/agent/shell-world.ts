import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import type { AgentEvent } from "../../../src/channel/messages.ts";
import { createForgeSimulator, type ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";
import { bundle } from "./bundle.ts";

const MAIN = join(await bundle({ "shell-engine": "src/agent/engines/shell/main.ts" }), "shell-engine.cjs");

type SimulatorOptions = Parameters<typeof createForgeSimulator>[0];

/** A forge with the repository `acme/site`; closed after the test. */
export async function forgeWith(
  options: Partial<SimulatorOptions> = {},
  repository: Parameters<ForgeSimulator["addRepository"]>[1] = {},
): Promise<ForgeSimulator> {
  const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1", ...options });
  onTestFinished(() => forge.close());
  forge.addUser("root", { admin: true });
  forge.addOrganization("acme", { owners: ["root"] });
  await forge.addRepository("acme/site", repository);
  return forge;
}

export interface EngineRun {
  process: ChildProcess;
  events: AgentEvent[];
  kinds(): string[];
  output(): string;
  workDir: string;
  exited: Promise<number | null>;
}

/** Registers an ephemeral runner and starts the engine for it, as the agent does. */
export async function startEngine(
  forge: ForgeSimulator,
  options: { jobLimit?: number; handle?: string } = {},
): Promise<EngineRun> {
  const workDir = mkdtempSync(join(tmpdir(), "shell-engine-"));
  const { runner } = createRunnerClient({ baseUrl: forge.url });
  const token = forge.registrationToken("");
  const { runner: row } = await runner.register({ name: "test-runner", token, labels: ["ubuntu"], ephemeral: true });
  if (row === undefined) throw new Error("no runner in the answer");
  const runnerFile = join(workDir, ".runner");
  const { name, uuid } = row;
  const { handle } = options;
  const registration = { id: Number(row.id), name, uuid, token: row.token, address: forge.url };
  writeFileSync(runnerFile, JSON.stringify({ ...registration, labels: ["ubuntu:host"], handle }));

  const flags = { "runner-file": runnerFile, "work-dir": workDir, "job-limit": String(options.jobLimit ?? 60_000) };
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: workDir, USER: "runner" },
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const events: AgentEvent[] = [];
  let rest = "";
  (child.stdio[3] as Readable).on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) events.push(JSON.parse(line) as AgentEvent);
  });
  const exited = new Promise<number | null>((done) => child.once("close", (code) => done(code)));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
    rmSync(workDir, { recursive: true, force: true });
  });
  const kinds = (): string[] => events.filter((event) => event.kind !== "log").map((event) => event.kind);
  return { process: child, events, kinds, output: () => output, workDir, exited };
}

/** One job from a workflow to its end. `log` is what the forge got. */
export async function runJob(
  forge: ForgeSimulator,
  yaml: string,
  options: { jobLimit?: number; secrets?: Record<string, string>; variables?: Record<string, string> } = {},
) {
  const { secrets = {}, variables = {} } = options;
  const run = await forge.pushWorkflow({ repository: "acme/site", yaml, secrets, variables });
  const engine = await startEngine(forge, options);
  const code = await engine.exited;
  const [job] = run.jobs();
  const attempt = job?.attempts[0];
  const log = attempt?.log.map((line) => line.content) ?? [];
  return { code, engine, run, job, attempt, log, text: log.join("\n") };
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 15 s: ${what}`);
    await systemClock.sleep(10);
  }
}

/** A workflow of one job from its steps, indented as they come. */
export const workflowOf = (steps: string, job = ""): string => `
name: test
on: push
env: { FROM_WORKFLOW: workflow }
jobs:
  main:
    runs-on: ubuntu
${job.replaceAll(/^/gm, "    ")}
    steps:
${steps.replaceAll(/^/gm, "      ")}
`;
