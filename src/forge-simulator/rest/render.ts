import { type Account, isDone, type Job, type JobStatus, type Repository, type Run } from "../records.ts";
import { runStatus } from "../runs.ts";
import type { World } from "../world.ts";

/** REST and webhooks call "queued" what the forge itself calls waiting, and "waiting" what it calls blocked. */
export function publicStatus(status: JobStatus): "queued" | "waiting" | "in_progress" | "completed" {
  if (status === "blocked") return "waiting";
  if (status === "waiting") return "queued";
  return status === "running" ? "in_progress" : "completed";
}

/** Times in whole seconds; unset ones are the epoch. */
export const time = (milliseconds: number): string =>
  new Date(Math.floor(milliseconds / 1000) * 1000).toISOString().replace(".000Z", "Z");

export function renderJob(world: World, job: Job): Record<string, unknown> {
  const { run, task } = job;
  const { repository } = run;
  const api = `${world.url}/api/v1/repos/${repository.fullName}/actions`;
  const status = publicStatus(job.status);
  const conclusion = isDone(job.status) ? { conclusion: job.status } : {};
  return {
    id: job.id,
    url: `${api}/jobs/${job.id}`,
    html_url: `${world.url}/${repository.fullName}/actions/runs/${run.number}/jobs/${run.jobs.indexOf(job)}`,
    run_id: run.id,
    run_url: `${api}/runs/${run.id}`,
    name: job.name,
    labels: job.runsOn.length > 0 ? job.runsOn : null,
    run_attempt: world.traits.countsTakenAttempts ? job.tasks.length : job.attempt,
    head_sha: run.sha,
    ...branch(run),
    status,
    ...conclusion,
    ...(task === undefined ? {} : { runner_id: task.runner.id, runner_name: task.runner.name }),
    // Every step is given the status of its job.
    steps:
      task === undefined
        ? null
        : task.steps.map((step, number) => ({
            name: step.name,
            number,
            status,
            ...conclusion,
            started_at: time(step.startedAt),
            completed_at: time(step.stoppedAt),
          })),
    created_at: time(job.createdAt),
    started_at: time(job.startedAt),
    completed_at: time(job.stoppedAt),
  };
}

export function renderRun(world: World, run: Run): Record<string, unknown> {
  const { repository } = run;
  const status = runStatus(run);
  const times = (pick: (job: Job) => number) => run.jobs.map(pick).filter((at) => at > 0);
  const started = times((job) => job.startedAt);
  const owner = renderRepository(world, repository);
  return {
    id: run.id,
    url: `${world.url}/api/v1/repos/${repository.fullName}/actions/runs/${run.id}`,
    html_url: `${world.url}/${repository.fullName}/actions/runs/${run.number}`,
    display_title: run.title,
    path: `${run.workflow}@${run.ref}`,
    event: world.traits.showsTriggerEvent ? run.event : hookEvent(run),
    run_attempt: run.attempt,
    run_number: run.number,
    repository_id: repository.id,
    head_sha: run.sha,
    ...branch(run),
    status: publicStatus(status),
    ...(isDone(status) ? { conclusion: status } : {}),
    actor: renderAccount(world, run.actor),
    trigger_actor: renderAccount(world, run.actor),
    repository: owner,
    // Gitea knows no other one here, wherever a pull request comes from.
    head_repository: owner,
    started_at: time(started.length > 0 ? Math.min(...started) : 0),
    completed_at: time(isDone(status) ? Math.max(0, ...times((job) => job.stoppedAt)) : 0),
  };
}

/** The webhook that started the run: that of both pull request events is the same. */
export const hookEvent = (run: Run): string => (run.event === "pull_request_target" ? "pull_request" : run.event);

export function renderRepository(world: World, repository: Repository): Record<string, unknown> {
  return {
    id: repository.id,
    owner: renderAccount(world, repository.owner),
    name: repository.name,
    full_name: repository.fullName,
    private: repository.private,
    fork: false,
    archived: false,
    html_url: `${world.url}/${repository.fullName}`,
    url: `${world.url}/api/v1/repos/${repository.fullName}`,
    clone_url: `${world.url}/${repository.fullName}.git`,
    default_branch: repository.defaultBranch,
    has_actions: repository.actions,
  };
}

export function renderAccount(world: World, account: Account): Record<string, unknown> {
  return {
    id: account.id,
    login: account.name,
    login_name: "",
    full_name: "",
    email: `${account.name}@noreply.localhost`,
    avatar_url: `${world.url}/avatars/${account.id}`,
    html_url: `${world.url}/${account.name}`,
    is_admin: account.admin,
  };
}

/** A tag has no branch. */
const branch = (run: Run) =>
  run.ref.startsWith("refs/heads/") ? { head_branch: run.ref.slice("refs/heads/".length) } : {};
