import type { Fate } from "./demand.ts";
import { type Draft, remove } from "./draft.ts";
import { inWords } from "./limits.ts";
import type { Survey, WaitingJob } from "./survey.ts";

/** Three fetch intervals of the engines: a listening runner that has not taken a waiting job by then never looks again. */
export const LEFT_ALONE = 15_000;
const STRIKES = 3;
const FIRST_REST = 10 * 60_000;
const LONGEST_REST = 4 * 60 * 60_000;

/** Until when a job counts as no demand, because ready runners leave it alone. */
export function isUnservable(job: string, draft: Draft): number | undefined {
  const until = draft.memory.unservable[job]?.until ?? 0;
  if (until <= draft.now) return undefined;
  draft.wake(until);
  return until;
}

/** Watches over the listening runners that were matched: those that leave their job alone are replaced. */
export function watchMatches(fates: Map<WaitingJob, Fate>, survey: Survey, draft: Draft): void {
  for (const [job, fate] of fates) {
    if (fate.kind !== "matched" || fate.runner.agent.phase !== "listening") continue;
    const { runner } = fate;
    const before = survey.input.memory.matches[runner.id];
    const since = before?.job === job.key ? before.since : draft.now;
    draft.memory.matches[runner.id] = { job: job.key, since };
    if (draft.now < since + LEFT_ALONE) {
      draft.wake(since + LEFT_ALONE);
      continue;
    }
    const detail = `it listened, but left ${job.job.name} alone for ${inWords(draft.now - since)}`;
    if (remove(draft, runner, { reason: "left-alone", detail })) strike(job.key, runner.id, draft);
  }
  forgetServed(survey, draft);
}

function strike(job: string, runner: string, draft: Draft): void {
  const before = draft.memory.unservable[job] ?? { strikes: [], until: 0, rounds: 0 };
  const strikes = before.strikes.includes(runner) ? before.strikes : [...before.strikes, runner];
  if (strikes.length < STRIKES) {
    draft.memory.unservable[job] = { ...before, strikes };
    return;
  }
  const rest = Math.min(FIRST_REST * 2 ** Math.min(before.rounds, 10), LONGEST_REST);
  draft.memory.unservable[job] = { strikes: [], until: draft.now + rest, rounds: before.rounds + 1 };
  draft.wake(draft.now + rest);
}

/** A job that waits no more was served after all, or is gone. */
function forgetServed(survey: Survey, draft: Draft): void {
  const waiting = new Set(survey.waiting.map((job) => job.key));
  for (const job of Object.keys(draft.memory.unservable)) if (!waiting.has(job)) delete draft.memory.unservable[job];
}
