import type { Draft } from "./draft.ts";
import { jobOf, mayAct } from "./runner.ts";
import { retryKey, type Step } from "./steps.ts";
import type { Survey } from "./survey.ts";
import type { EndReason, Runner } from "./types.ts";

/** A forge that could not be told so many times will not be told at all. */
export const TELL_TRIES = 4;

/** Ends that came from the forge, or that it was told of by the engine. */
const KNOWN_TO_THE_FORGE: ReadonlySet<EndReason> = new Set(["finished", "cancelled-by-forge"]);

/**
 * Sees to the job of a runner that ended under it: without a word the forge would show it as running until its own timer
 * ends it. Says whether that is settled, so that the registration may go: only with its credentials can the forge be told.
 */
export function settleJob(runner: Runner, survey: Survey, draft: Draft): boolean {
  if (!endedUnderJob(runner, survey)) return true;
  const leave = (detail: string) => draft.take({ kind: "leave-job", runner: runner.id, detail });
  if (survey.view(runner.target) === undefined) leave("the configuration names its forge no more");
  // As long as the sandbox lives its engine may tell the forge itself, and knows more than we do.
  else if (mayAct(runner)) return false;
  else if (jobOf(runner)?.taskId === undefined) leave("its number in the forge is not known");
  else if (runner.registration.phase === "gone") leave("its registration was gone before the job was known");
  else if (survey.isTrusted(runner.target)) tell(runner, draft, leave);
  return false;
}

function endedUnderJob(runner: Runner, survey: Survey): boolean {
  const { agent, ending, outcome, registration } = runner;
  if (outcome !== undefined || ending === undefined || KNOWN_TO_THE_FORGE.has(ending.reason)) return false;
  // A guest that never had a registration may claim what it likes.
  const couldHaveOne = registration.phase === "active" || registration.phase === "gone";
  return couldHaveOne && agent.phase !== "finished" && survey.holdsJob(runner);
}

function tell(runner: Runner, draft: Draft, leave: (detail: string) => void): void {
  const step: Step = { kind: "fail-job", runner: runner.id };
  const tried = draft.memory.retries[retryKey(step)];
  if (tried !== undefined && tried.failures >= TELL_TRIES) leave(tried.error);
  else draft.take(step);
}
