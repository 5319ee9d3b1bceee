import { mkdirSync, writeFileSync } from "node:fs";
import { arch } from "node:os";
import { dirname, join } from "node:path";
import { Result, type Task } from "../../../../gen/runner/v1/runner_pb.js";
import { interpolate, type JobStatus, resolve, type Scope } from "./expressions.ts";
import { textOf } from "./text.ts";
import type { Variables, Workflow } from "./workflow.ts";

/** Where a job's files are. */
export interface JobFolders {
  workspace: string;
  temp: string;
  tools: string;
}

export interface StepResult {
  outcome: string;
  conclusion: string;
  outputs: Record<string, string>;
}

/** What expressions and environments are made of, as it stands while the steps run. */
export interface JobContext {
  readonly github: Record<string, unknown>;
  readonly folders: JobFolders;
  /** What steps added through GITHUB_ENV, over what workflow and job set. */
  readonly env: Record<string, string>;
  /** Folders that steps added through GITHUB_PATH, the newest first. */
  readonly path: string[];
  readonly steps: Record<string, StepResult>;
  status: JobStatus;
  /** @param env the environment of the step that asks */
  scope(env?: Record<string, string>): Scope;
  /** The process environment of a step, without its own files. */
  environment(env: Record<string, string>): Record<string, string>;
}

interface ContextOptions {
  task: Task;
  workflow: Workflow;
  workDir: string;
  runnerName: string;
  /** What the engine itself was started with: the original's four variables and the image's. */
  base: Record<string, string>;
}

const RESULT_NAMES: Partial<Record<Result, string>> = {
  [Result.SUCCESS]: "success",
  [Result.FAILURE]: "failure",
  [Result.CANCELLED]: "cancelled",
  [Result.SKIPPED]: "skipped",
};

/** Prepares the job's folders and everything that expressions may refer to. */
export function createJobContext(options: ContextOptions): JobContext {
  const { task, workflow } = options;
  const raw = (task.context ?? {}) as Record<string, unknown>;
  const folders = makeFolders(options.workDir, textOf(raw["repository"]));
  const github = {
    ...raw,
    token: task.secrets["GITHUB_TOKEN"] ?? task.secrets["GITEA_TOKEN"] ?? raw["token"] ?? "",
    workspace: folders.workspace,
    event_path: join(folders.temp, "_workflow", "event.json"),
  };
  mkdirSync(dirname(github.event_path), { recursive: true });
  writeFileSync(github.event_path, JSON.stringify(raw["event"] ?? {}));

  const runner = {
    name: options.runnerName,
    os: "Linux",
    arch: arch() === "arm64" ? "ARM64" : "X64",
    temp: folders.temp,
    tool_cache: folders.tools,
    environment: "self-hosted",
    debug: "",
  };
  const fixed = {
    github,
    gitea: github,
    forgejo: github,
    runner,
    secrets: task.secrets,
    vars: task.vars,
    needs: needsOf(task),
    inputs: inputsOf(raw),
    matrix: workflow.matrix,
    strategy: { "fail-fast": true, "job-index": 0, "job-total": 1, "max-parallel": 1 },
  };
  const env: Record<string, string> = {};
  const context: JobContext = {
    github,
    folders,
    env,
    path: [],
    steps: {},
    status: "success",
    scope: (stepEnv = env) => ({
      contexts: { ...fixed, env: stepEnv, job: { status: context.status }, steps: context.steps },
      status: context.status,
      workspace: folders.workspace,
    }),
    environment: (stepEnv) => ({
      ...options.base,
      ...stepEnv,
      ...wellKnownVariables(github, runner),
      PATH: [...context.path, stepEnv["PATH"] ?? options.base["PATH"] ?? ""].join(":"),
    }),
  };
  for (const variables of [workflow.env, workflow.job.env]) Object.assign(env, resolveVariables(variables, context));
  return context;
}

/** The values of an `env` block, which may refer to what came before it. */
export function resolveVariables(variables: Variables, context: JobContext): Record<string, string> {
  if (variables === undefined) return {};
  const scope = context.scope();
  const resolved = typeof variables === "string" ? resolve(variables, scope) : variables;
  if (typeof resolved !== "object" || resolved === null) return {};
  return Object.fromEntries(
    Object.entries(resolved).map(([name, value]) => {
      return [name, typeof value === "string" ? interpolate(value, scope) : String(value ?? "")];
    }),
  );
}

function wellKnownVariables(github: Record<string, unknown>, runner: Record<string, string>): Record<string, string> {
  const named = Object.fromEntries(
    GITHUB_VARIABLES.flatMap((key) => {
      const value = textOf(github[key]);
      return [`GITHUB_${key.toUpperCase()}`, `GITEA_${key.toUpperCase()}`].map((name) => [name, value]);
    }),
  ) as Record<string, string>;
  return {
    ...named,
    CI: "true",
    GITHUB_ACTIONS: "true",
    GITEA_ACTIONS: "true",
    RUNNER_NAME: runner["name"] ?? "",
    RUNNER_OS: runner["os"] ?? "",
    RUNNER_ARCH: runner["arch"] ?? "",
    RUNNER_TEMP: runner["temp"] ?? "",
    RUNNER_TOOL_CACHE: runner["tool_cache"] ?? "",
  };
}

/** Keys of the context that are also variables; the token is not one of them. */
const GITHUB_VARIABLES =
  `actor api_url base_ref event_name event_path graphql_url head_ref job ref ref_name ref_protected
  ref_type repository repository_id repository_owner retention_days run_attempt run_id run_number server_url sha
  triggering_actor workflow workspace`.split(/\s+/);

function makeFolders(workDir: string, repository: string): JobFolders {
  // The name is the forge's, but it becomes a path here.
  const name =
    (repository.split("/")[1] ?? "").replaceAll(/[^A-Za-z0-9._-]/g, "_").replace(/^\.+/, "_") || "repository";
  const folders = {
    workspace: join(workDir, "_work", name, name),
    temp: join(workDir, "_work", "_temp"),
    tools: join(workDir, "_work", "_tools"),
  };
  for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true });
  return folders;
}

function needsOf(task: Task): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(task.needs).map(([job, need]) => [
      job,
      { result: RESULT_NAMES[need.result] ?? "", outputs: { ...need.outputs } },
    ]),
  );
}

function inputsOf(github: Record<string, unknown>): Record<string, unknown> {
  const event = github["event"];
  const inputs = typeof event === "object" && event !== null && "inputs" in event ? event.inputs : undefined;
  return typeof inputs === "object" && inputs !== null ? (inputs as Record<string, unknown>) : {};
}
