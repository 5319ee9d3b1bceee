import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type LoadedConfig, loadConfig } from "../../../src/config/load.ts";
import { ConfigError, renderProblem } from "../../../src/config/problems.ts";

/** A directory that lives as long as the test, with the files given. Secrets are for their owner only. */
export function workspace(files: Record<string, string | Buffer> = {}): string {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-config-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, name), content);
    chmodSync(join(directory, name), 0o600);
  }
  return directory;
}

/** Loads a file with this content, beside a `token` file. */
export function load(content: string | Buffer, env: NodeJS.ProcessEnv = {}): LoadedConfig {
  return loadConfig(join(workspace({ "c.yaml": content, token: "s3cret\n" }), "c.yaml"), env);
}

/** What is wrong with a file with this content, as it is shown, without the directory. */
export function errorsOf(content: string | Buffer, env: NodeJS.ProcessEnv = {}): string[] {
  return caught(() => load(content, env)).problems.map(shown);
}

/** What a good file is warned about. */
export function warningsOf(content: string, env: NodeJS.ProcessEnv = {}): string[] {
  return load(content, env).warnings.map(shown);
}

export function caught(action: () => unknown): ConfigError {
  try {
    action();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("nothing was wrong with the file");
}

const shown = (problem: Parameters<typeof renderProblem>[0]): string =>
  renderProblem(problem).replaceAll(/\S*\/fireteact-config-\w+\//g, "");

export const FORGE = "gitea: {instanceURL: https://git.example.com, apiTokenFile: ./token}\n";
/** One pool with a new key, so that unknown keys are errors. */
export const POOL = "pools: [{name: a, driver: qemu, runner: {image: i, labels: [x]}}]\n";
