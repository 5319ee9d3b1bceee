import { jobKey } from "../../core/job-key.ts";
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

/** Where a job was read. */
export interface Place {
  /** Key and URL of the target. */
  key: string;
  url: string;
  /** See `ForgeCapabilities`; a webhook may come before the forge was asked. */
  countsTakenAttempts?: boolean | undefined;
}

/**
 * The job in our words; undefined once it is completed, or in a state that we do not know.
 * @param status instead of the job's own
 */
export function jobOf(place: Place, job: GiteaJob, status = STATUS[job.status]): Omit<Job, "since" | "at"> | undefined {
  if (status === undefined) return undefined;
  const attempt = attemptOf(place, job);
  const repository = repositoryOf(place.url, job);
  const queuedAt = timeOf(job.created_at);
  return {
    key: jobKey(place.key, job.id, attempt),
    target: place.key,
    id: job.id,
    attempt,
    name: job.name ?? "",
    labels: job.labels,
    status,
    ...(repository === undefined ? {} : { repository }),
    ...(job.run_id ? { run: job.run_id } : {}),
    ...(job.runner_id ? { runnerRow: job.runner_id } : {}),
    ...webLink(job.html_url),
    ...(queuedAt === undefined ? {} : { queuedAt }),
  };
}

/** The attempt that the job is at, also where one that no runner has taken yet is not counted. */
export function attemptOf({ countsTakenAttempts }: Place, job: GiteaJob): number {
  const shown = job.run_attempt ?? 0;
  const isTaken = job.status === "in_progress" || Boolean(job.runner_id);
  return Math.max(1, countsTakenAttempts === true && !isTaken ? shown + 1 : shown);
}

/** A job does not say its repository, but its URLs do; the forge may write them with another host than ours. */
function repositoryOf(forge: string, job: GiteaJob): string | undefined {
  const after = `${new URL(forge).pathname.replace(/\/$/, "")}/api/v1/repos/`;
  return repositoryIn(job.run_url ?? undefined, after) ?? repositoryIn(job.url ?? undefined, after);
}
