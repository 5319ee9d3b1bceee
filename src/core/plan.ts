import { create, fillUp, removeAbandoned, removeIdle, replaceOutdated, takeCensus } from "./census.ts";
import { type Fate, matchJobs } from "./demand.ts";
import { createDraft, type Draft, remove, tidy } from "./draft.ts";
import { removeJobless } from "./jobless.ts";
import { watchMatches } from "./left-alone.ts";
import type { PlanInput, PlanOutput, WaitReason } from "./plan-types.ts";
import { advance, settle } from "./progress.ts";
import { reasonOf } from "./reasons.ts";
import { roomOf } from "./room.ts";
import { supplyOf } from "./supply.ts";
import { type Survey, surveyOf, type WaitingJob } from "./survey.ts";
import { sweep } from "./sweeping.ts";
import type { Runner } from "./types.ts";

export { recordFailure, recordRetry, recordSuccess } from "./backoff.ts";

/**
 * The heart: what to do now. Pure, and complete at every call: it looks at the world as it is and holds no progress of
 * its own, so it may be called at any time, after any crash, and with steps still running.
 *
 * Steps of the record lane must be carried out, in order, before the next call; the others may take their time and are
 * named in `inFlight` while they do.
 */
export function plan(input: PlanInput): PlanOutput {
  const survey = surveyOf(input);
  if (input.mode === "detach") {
    const reasons = survey.waiting.map((job) => stopping(job));
    return { steps: [], readAgain: {}, rowsWanted: [], reasons, memory: input.memory };
  }
  const draft = createDraft(input);
  for (const runner of input.runners) settle(runner, survey, draft);
  const reasons = input.mode === "drain" ? drainAll(survey, draft) : scale(survey, draft);
  sweep(survey, draft);
  const memory = tidy(draft, new Set(survey.pools.keys()));
  const { steps, readAgain, wakeAt } = draft;
  const rowsWanted = [...draft.rowsWanted];
  return { steps, readAgain, rowsWanted, reasons, memory, ...(wakeAt === undefined ? {} : { wakeAt }) };
}

/** Ends what is idle and creates nothing; jobs that run go on. */
function drainAll(survey: Survey, draft: Draft): WaitReason[] {
  for (const runner of supplyOf(survey, draft).avail) {
    remove(draft, runner, { reason: "shutdown", detail: "the service is shutting down" });
  }
  for (const runner of survey.input.runners) if (survey.holdsJob(runner)) advance(runner, undefined, survey, draft);
  return survey.waiting.map((job) => stopping(job));
}

const stopping = (job: WaitingJob): WaitReason => ({
  job: job.job,
  code: "draining",
  detail: "the service is shutting down and takes no new jobs",
});

/** Matches jobs with runners, removes what is not needed, and creates what is missing. */
function scale(survey: Survey, draft: Draft): WaitReason[] {
  const supply = supplyOf(survey, draft);
  const room = roomOf(survey, draft);
  const fates = matchJobs(survey, supply, room, draft);
  const matches = matchesOf(fates);
  watchMatches(fates, survey, draft);
  removeJobless(supply.avail, survey, draft);
  removeAbandoned(supply.avail, matches, survey, draft);

  const created = new Map<WaitingJob, Runner>();
  for (const [job, fate] of fates) {
    if (fate.kind !== "given") continue;
    const { pool } = fate.pool;
    created.set(job, create(pool, job, survey, draft));
  }
  for (const census of takeCensus(fates, supply.avail, matches, survey, draft)) {
    const made = fillUp(census, room, survey, draft);
    removeIdle(census, survey, draft);
    replaceOutdated(census, made, room, survey, draft);
  }
  for (const runner of survey.input.runners) advance(runner, matches.get(runner.id), survey, draft);
  return survey.waiting.flatMap((job) => {
    const fate = fates.get(job);
    return fate === undefined ? [] : [reasonOf(job, fate, created.get(job), survey, draft)];
  });
}

/** By runner, the job it was matched to. */
function matchesOf(fates: ReadonlyMap<WaitingJob, Fate>): Map<string, WaitingJob> {
  const matches = new Map<string, WaitingJob>();
  for (const [job, fate] of fates) if (fate.kind === "matched") matches.set(fate.runner.id, job);
  return matches;
}
