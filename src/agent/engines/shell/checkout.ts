import { mkdirSync, rmSync } from "node:fs";
import { resolve as resolvePath, sep } from "node:path";
import { FireteactError } from "../../../base/errors.ts";
import { findProgram } from "../../identity.ts";
import { interpolate } from "./expressions.ts";
import type { JobRun } from "./job.ts";
import { runProcess } from "./process.ts";
import { textOf } from "./text.ts";
import { type StepDefinition, stepTitle } from "./workflow.ts";

/** Inputs that are understood, and those that change nothing here: credentials never stay, and the folder is new. */
const UNDERSTOOD = new Set(["repository", "ref", "token", "path", "fetch-depth"]);
const WITHOUT_EFFECT = new Set([
  "persist-credentials",
  "clean",
  "show-progress",
  "set-safe-directory",
  "github-server-url",
]);
const OFF = new Set(["", "false"]);

/** Fetches the job's own repository, as `actions/checkout` does. Throws with a message for the log. */
export async function checkOut(
  run: JobRun,
  step: StepDefinition,
  index: number,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { context, log, masks } = run;
  const scope = context.scope(env);
  const inputs = Object.fromEntries(
    Object.entries(step.with ?? {}).map(([key, value]) => [key, interpolate(String(value ?? ""), scope).trim()]),
  );
  refuseInputs(inputs, context.github, stepTitle(step, index));
  const git = findProgram("git", context.environment(env)["PATH"]);
  if (git === undefined) throw new FireteactError("NO_GIT", "the image has no git, which a checkout needs");

  const { workspace } = context.folders;
  const folder = resolvePath(workspace, inputs["path"] ?? ".");
  if (folder !== workspace && !folder.startsWith(workspace + sep)) {
    throw new FireteactError("CHECKOUT", `the path ${inputs["path"]} leads out of the workspace`);
  }
  // Forges write theirs with a slash at its end.
  const server = textOf(context.github["server_url"]).replace(/\/+$/, "");
  const url = `${server}/${textOf(context.github["repository"])}.git`;
  const wanted = wantedRef(inputs["ref"] ?? "", context.github);
  const depth = depthOf(inputs["fetch-depth"]);
  const token = inputs["token"] || textOf(context.github["token"]);
  masks.add(token);
  const secret = gitCredentials(token, url);
  masks.add(secret["GIT_CONFIG_VALUE_0"] ?? "");

  const call = async (...args: string[]): Promise<void> => {
    log.write(`[command]git ${args.join(" ")}`);
    const environment = { ...context.environment(env), ...secret, GIT_TERMINAL_PROMPT: "0" };
    const options = {
      command: [git, ...args],
      cwd: folder,
      environment,
      onLine: (line: string) => log.write(line),
      log,
      masks,
      clock: run.clock,
      signal,
    };
    const code = await runProcess(options, run.groups);
    if (code !== 0 && !signal.aborted)
      throw new FireteactError("CHECKOUT", `git ${args[0]} ended with exit code ${code}`);
  };
  // Like the original: what an earlier step left in the place of a repository goes.
  rmSync(`${folder}/.git`, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await call("init", "--quiet", "--initial-branch=main");
  await call("remote", "add", "origin", url);
  const fetch = ["-c", "protocol.version=2", "fetch", "--quiet", "--force"];
  if (depth === 0) await call(...fetch, "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*");
  await call(...fetch, ...(depth === 0 ? [] : ["--no-tags", `--depth=${depth}`]), "origin", wanted);
  await call("checkout", "--quiet", "--force", ...branchOf(inputs["ref"] ?? "", context.github), "FETCH_HEAD");
  log.write(`Checked out ${wanted} into ${folder}`);
  return { ref: inputs["ref"] || textOf(context.github["ref"]), commit: textOf(context.github["sha"]) };
}

/** 0 is the whole history. */
function depthOf(text: string | undefined): number {
  const depth = Number(text || "1");
  if (Number.isSafeInteger(depth) && depth >= 0) return depth;
  throw new FireteactError("CHECKOUT", `fetch-depth: ${JSON.stringify(text)} is no number of commits`);
}

/** The job's own commit, or what the input names; a plain name is a branch. */
function wantedRef(ref: string, github: Record<string, unknown>): string {
  if (ref === "" || ref === github["ref"]) return textOf(github["sha"]);
  if (/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/i.test(ref) || ref.startsWith("refs/")) return ref;
  if (!/^[^-\s~^:?*[\\][^\s~^:?*[\\]*$/.test(ref))
    throw new FireteactError("CHECKOUT", `${JSON.stringify(ref)} is no ref`);
  return ref;
}

/** Scripts expect to be on the branch that was pushed. */
function branchOf(ref: string, github: Record<string, unknown>): string[] {
  const branch = /^refs\/heads\/(.+)$/.exec(textOf(github["ref"]))?.[1];
  const own = ref === "" || ref === github["ref"];
  return own && branch !== undefined && !branch.startsWith("-") ? ["-B", branch] : ["--detach"];
}

/** Git reads this configuration from its environment, so the token is in no argument list and in no file. */
function gitCredentials(token: string, url: string): Record<string, string> {
  if (token === "") return {};
  const basic = Buffer.from(`x-access-token:${token}`).toString("base64");
  return {
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: `http.${new URL(url).origin}/.extraheader`,
    GIT_CONFIG_VALUE_0: `AUTHORIZATION: basic ${basic}`,
  };
}

function refuseInputs(inputs: Record<string, string>, github: Record<string, unknown>, title: string): void {
  const repository = inputs["repository"] ?? "";
  const own = textOf(github["repository"]);
  if (repository !== "" && repository.toLowerCase() !== own.toLowerCase()) {
    throw refused(`${title} checks out ${repository}`);
  }
  for (const [name, value] of Object.entries(inputs)) {
    if (UNDERSTOOD.has(name) || WITHOUT_EFFECT.has(name) || OFF.has(value)) continue;
    throw refused(`${title} sets ${name}`);
  }
}

const refused = (what: string): FireteactError =>
  new FireteactError("CHECKOUT", `${what}, which the engine "shell" does not do`, {
    hint: "Give the job to a pool with the engine gitea-runner or forgejo-runner.",
  });
