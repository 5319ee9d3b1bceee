import { type Draft, remove } from "./draft.ts";
import type { Survey } from "./survey.ts";
import type { Runner } from "./types.ts";
import { isConfirmed } from "./verdict.ts";

/** Whether another runner, or nobody, has the job that this one was made for, seen at two reads; a bound one apart. */
export function hasLostJob(runner: Runner, survey: Survey, draft: Draft): boolean {
  const { id, jobKey, handle, target } = runner;
  if (jobKey === undefined || handle !== undefined || !survey.isTrusted(target) || survey.isQueued(jobKey))
    return false;
  return isConfirmed(`${id} job`, survey.view(target)?.jobsRead ?? 0, survey, draft);
}

/** Removes runners that are bound to a job which waits no more, seen at two reads: no other job can come to them. */
export function removeJobless(avail: Runner[], survey: Survey, draft: Draft): void {
  for (const runner of avail) {
    if (runner.handle === undefined || !survey.isTrusted(runner.target)) continue;
    if (survey.isWaiting(runner.target, runner.handle)) continue;
    const read = survey.view(runner.target)?.jobsRead ?? 0;
    if (!isConfirmed(`${runner.id} handle`, read, survey, draft)) continue;
    remove(draft, runner, { reason: "job-gone", detail: "the job it was made for waits no more" });
  }
}
