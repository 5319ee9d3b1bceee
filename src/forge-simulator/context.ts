import { createHmac, randomBytes } from "node:crypto";
import type { JsonObject } from "@bufbuild/protobuf";
import type { Repository, Task } from "./records.ts";
import type { World } from "./world.ts";

const RUNTIME_TOKEN_SECONDS = 4 * 3600;
const signingKey = randomBytes(32);

/** The GitHub context of a task, with the forge's own additions; numbers travel as strings. */
export function taskContext(world: World, task: Task): JsonObject {
  const { job } = task;
  const { run } = job;
  const { repository } = run;
  const tag = run.ref.startsWith("refs/tags/");
  const runtimeToken = newRuntimeToken(world, task);
  const context: JsonObject = {
    action: "",
    action_path: "",
    action_ref: "",
    action_repository: "",
    action_status: "",
    actor: run.actor.name,
    triggering_actor: run.actor.name,
    api_url: `${world.url}/api/v1`,
    base_ref: text(run.payload["base_ref"]),
    env: "",
    event: run.payload as JsonObject,
    event_name: run.event,
    event_path: "",
    graphql_url: "",
    head_ref: text(run.payload["head_ref"]),
    job: job.key,
    path: "",
    ref: run.ref,
    ref_name: run.ref.replace(/^refs\/[^/]+\//, ""),
    ref_protected: false,
    ref_type: tag ? "tag" : "branch",
    repository: repository.fullName,
    repository_id: String(repository.id),
    repository_owner: repository.owner.name,
    repositoryUrl: `${world.url}/${repository.fullName}`,
    retention_days: "",
    run_attempt: String(job.attempt),
    run_id: String(run.id),
    run_number: String(run.number),
    secret_source: "Actions",
    server_url: `${world.url}/`,
    sha: run.sha,
    token: task.token,
    workflow: run.workflowName,
    workspace: "",
    gitea_default_actions_url: world.actionsUrl,
    gitea_runtime_token: runtimeToken,
  };
  if (world.traits.flavour === "forgejo") {
    context["forgejo_default_actions_url"] = world.actionsUrl;
    context["forgejo_runtime_token"] = runtimeToken;
  }
  return context;
}

/** The user's secrets and the job token under every name that the forge gives it. */
export function taskSecrets(world: World, task: Task): Record<string, string> {
  const { run } = task.job;
  const own = world.traits.flavour === "forgejo" ? { FORGEJO_TOKEN: task.token } : {};
  return {
    ...run.repository.secrets,
    ...run.secrets,
    GITEA_TOKEN: task.token,
    GITHUB_TOKEN: task.token,
    ...own,
  };
}

export const taskVariables = (task: Task): Record<string, string> => ({
  ...task.job.run.repository.variables,
  ...task.job.run.variables,
});

/** The payload of a push, for runs started without one. */
export function pushPayload(
  world: World,
  push: { repository: Repository; actor: string; ref: string; sha: string },
): Record<string, unknown> {
  const { repository, actor, ref, sha } = push;
  return {
    ref,
    before: "0".repeat(40),
    after: sha,
    compare_url: "",
    commits: [],
    head_commit: { id: sha, message: "" },
    repository: {
      id: repository.id,
      name: repository.name,
      full_name: repository.fullName,
      private: repository.private,
      default_branch: repository.defaultBranch,
      html_url: `${world.url}/${repository.fullName}`,
      clone_url: `${world.url}/${repository.fullName}.git`,
      owner: { id: repository.owner.id, login: repository.owner.name },
    },
    pusher: { login: actor },
    sender: { login: actor },
  };
}

/** The JWT for artifacts and cache: readable by everybody, verifiable by the server only. */
function newRuntimeToken(world: World, task: Task): string {
  const { job } = task;
  const now = Math.floor(world.clock.now() / 1000);
  const claims = {
    exp: now + RUNTIME_TOKEN_SECONDS,
    nbf: now,
    scp: `Actions.Results:${job.run.id}:${job.id}`,
    ac: JSON.stringify([{ Scope: "", Permission: 2 }]),
    TaskID: task.id,
    RunID: job.run.id,
    JobID: job.id,
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${body}.${createHmac("sha256", signingKey).update(body).digest("base64url")}`;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
