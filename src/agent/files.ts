import { chown, mkdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomic } from "../base/atomic-file.ts";
import { ignore } from "../base/errors.ts";
import type { Assignment } from "./assignment.ts";
import type { Identity } from "./identity.ts";

interface EngineConfig {
  workDir: string;
  runnerFile: string;
  /** Milliseconds that a job may take; 3 h as in the original where nobody says. */
  timeout: number;
  /** A program that looks at each job before its first step. */
  jobStarted?: string;
}

/**
 * The original's configuration of act_runner, with one more key: without `shutdown_timeout` a runner that is told to end
 * cancels its job, and some ephemeral ones tell that themselves as soon as they have it.
 */
export function engineConfigContent({ workDir, runnerFile, timeout, jobStarted }: EngineConfig): string {
  const limit = JSON.stringify(`${Math.ceil(timeout / 1_000)}s`);
  return `# Written by Fireteact, since there was no configuration.
log:
  level: info
runner:
  file: ${JSON.stringify(runnerFile)}
  capacity: 1
  timeout: ${limit}
  shutdown_timeout: ${limit}
  insecure: false
  fetch_timeout: 5s
  fetch_interval: 2s
${jobStarted === undefined ? "" : `  hooks:\n    job_started: ${JSON.stringify(jobStarted)}\n`}cache:
  enabled: true
  dir: ${JSON.stringify(`${workDir}/cache`)}
container:
  network: bridge
  privileged: false
  options: ""
  valid_volumes: []
`;
}

const DEFAULT_TIMEOUT = 3 * 3_600_000;
export const engineTimeout = (assignment: Assignment): number => assignment.engineTimeout ?? DEFAULT_TIMEOUT;

/** Writes the file whole or not at all, owned by the identity; nobody reads it before the engine is started. */
export async function writeFileAs(path: string, content: string, mode: number, identity: Identity): Promise<void> {
  await makeFolderAs(dirname(path), identity);
  await writeFileAtomic(path, content, { mode });
  if (identity.switches) await chown(path, identity.uid, identity.gid);
}

/** Makes the folder and what is missing above it; the folders made belong to the identity. */
export async function makeFolderAs(path: string, identity: Identity): Promise<void> {
  const made = await mkdir(path, { recursive: true });
  if (made === undefined || !identity.switches) return;
  for (let folder = path; folder.length >= made.length; folder = dirname(folder)) {
    await chown(folder, identity.uid, identity.gid);
  }
}

/** Whether there is a file with anything in it. */
export async function hasContent(path: string): Promise<boolean> {
  const content = await readFile(path, "utf8").catch(ignore("ENOENT"));
  return content !== undefined && content.trim() !== "";
}

export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
}
