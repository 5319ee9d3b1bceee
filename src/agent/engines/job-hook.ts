import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { writeFileAs } from "../files.ts";
import type { EngineContext } from "./engine.ts";

/** `runner.hooks` came with this version. */
const OLDEST = 3;

/**
 * Makes gitea-runner look at its job before the first step, where only some may run. The hook fails the job; a workflow
 * cannot name another one. Nobody else runs anything in the sandbox before it.
 * @returns the hook's path, or undefined where every job may run
 */
export async function prepareHook(context: EngineContext, program: string): Promise<string | undefined> {
  const { assignment, options, identity } = context;
  if (assignment.trust === undefined) return undefined;
  await checkVersion(program);
  const policy = join(options.workDir, "trust.json");
  await writeFileAs(policy, `${JSON.stringify(assignment.trust)}\n`, 0o444, asItself(identity));
  if (options.jobStartedHook !== undefined) return options.jobStartedHook;
  const hook = join(options.workDir, "job-started");
  const script = hookScript([process.execPath, process.argv[1] ?? "", "job-started", policy]);
  await writeFileAs(hook, script, 0o555, asItself(identity));
  return hook;
}

/** What the hook is told of the job. Gitea-runner sets these itself, whatever the workflow's `env` says. */
const TOLD = ["GITHUB_REPOSITORY", "GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_REF"];

/**
 * The hook gets the workflow's own environment, with which a job could make its interpreter run something first
 * (NODE_OPTIONS, BASH_ENV, exported functions): a privileged shell ignores that, and the program gets a clean one.
 */
export function hookScript(command: readonly string[]): string {
  const told = TOLD.map((name) => `${name}="$${name}"`).join(" ");
  return `#!/bin/sh -p\nexec /usr/bin/env -i ${told} ${command.map(quoted).join(" ")}\n`;
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** An agent that is root keeps the files to itself; another one has nobody to give them to. */
const asItself = (identity: EngineContext["identity"]): EngineContext["identity"] => ({
  ...identity,
  switches: false,
});

async function checkVersion(program: string): Promise<void> {
  const { stdout } = await exec(program, ["--version"], { timeout: 10_000 });
  const version = /v?(\d+)\.\d+\.\d+/.exec(stdout);
  if (Number(version?.[1] ?? 0) >= OLDEST) return;
  throw new FireteactError(
    "ENGINE_TOO_OLD",
    `${program} is version ${version?.[0] ?? "unknown"}, which has no job hooks`,
    {
      hint: `native pools need gitea-runner ${OLDEST}.0 or newer, or the built-in engine: shell`,
    },
  );
}
