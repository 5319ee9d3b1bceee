import type { Job } from "../../core/types.ts";
import { timeOf } from "../lenient.ts";
import { repositoryIn, webLink } from "../paths.ts";
import type { GiteaJob } from "./schemas.ts";

/**
 * Gitea's words in REST and webhooks. Mind the inversion: `queued` is ready for a runner, `waiting` is not ready yet,
 * though Gitea itself calls the former "waiting".
 */
const STATUS: Record<string, Job["status"]> = { queued: "queued", waiting: "blocked", in_progress: "running" };

/** What is asked for: all that is not completed. */
export const OPEN_STATUSES = Object.keys(STATUS);

/** The job in our words; undefined once it is completed, or in a state that we do not know. */
export function jobOf(target: string, forge: string, job: GiteaJob): Omit<Job, "since" | "at"> | undefined {
  const status = STATUS[job.status];
  if (status === undefined) return undefined;
  const attempt = Math.max(1, job.run_attempt ?? 1);
  const repository = repositoryOf(forge, job);
  const queuedAt = timeOf(job.created_at);
  return {
    key: `${target}/${job.id}/${attempt}`,
    target,
    id: job.id,
    attempt,
    name: job.name ?? "",
    labels: job.labels,
    status,
    ...(repository === undefined ? {} : { repository }),
    ...(job.runner_id ? { runnerRow: job.runner_id } : {}),
    ...webLink(job.html_url),
    ...(queuedAt === undefined ? {} : { queuedAt }),
  };
}

/** A job does not say its repository, but its URLs do; the forge may write them with another host than ours. */
function repositoryOf(forge: string, job: GiteaJob): string | undefined {
  const after = `${new URL(forge).pathname.replace(/\/$/, "")}/api/v1/repos/`;
  return repositoryIn(job.run_url ?? undefined, after) ?? repositoryIn(job.url ?? undefined, after);
}
