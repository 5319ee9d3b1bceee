import type { Cause, Draft } from "./draft.ts";
import { reachedLimit } from "./limits.ts";
import { covers } from "./match.ts";
import { type ForgeView, STALE_READS } from "./plan-types.ts";
import type { Survey } from "./survey.ts";
import type { Job, Runner } from "./types.ts";

/** Why a runner has to end now, whatever the demand is; undefined while it may go on. */
export function verdict(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  return (
    endedByItself(runner, survey, draft) ??
    lostInForge(runner, survey, draft) ??
    withoutSecret(runner, survey, draft) ??
    reachedLimit(runner, survey, draft)
  );
}

/** Its sandbox or its engine ended, or the agent said that it takes no job any more. */
function endedByItself(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  const { agent, sandbox, removal } = runner;
  const over = sandbox.phase === "exited" || sandbox.phase === "gone";
  if (agent.phase === "finished") {
    if (agent.job === undefined) return removal ?? { reason: "engine-failed", detail: engineFailure(agent.code) };
    return over
      ? { reason: "finished", detail: `the job ended${agent.result === undefined ? "" : `: ${agent.result}`}` }
      : undefined;
  }
  if (agent.phase === "drained") {
    // Its answer may come before the step that asked for it has ended, and with it the reason.
    if (removal === undefined && !over && !draft.isFree(runner, "host")) return undefined;
    return removal ?? { reason: "scale-down", detail: "its agent takes no more jobs" };
  }
  if (!over) return undefined;
  if (removal !== undefined && agent.phase === "draining") return removal;
  return endedUnheard(runner, survey, draft);
}

/** How long the forge is waited for, to say how a runner ended that nobody heard. */
const FORGE_KNOWS = 2 * 60_000;

/**
 * Its sandbox ended, and its agent told no more. While the orchestrator was away that may have been the end of a job:
 * the forge deletes the row of an ephemeral runner with it, so the first list of rows tells. What a mute one did is told
 * by the first list after its end (see hearsay.ts).
 */
function endedUnheard(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  const { registration, sandbox, target } = runner;
  const exited: Cause = { reason: "sandbox-exited", detail: exitDetail(runner) };
  const view = survey.view(target);
  if (sandbox.phase !== "exited" || registration.phase !== "active") return exited;
  if (sandbox.exit.unwatched !== true && runner.mute !== true) return exited;
  if (view === undefined || !view.listsRunners || draft.now >= sandbox.since + FORGE_KNOWS) return exited;
  const isRead = runner.mute === true ? (view.rowsSince ?? 0) >= sandbox.since : view.rowsRead > 0;
  if (!isRead || !survey.isTrusted(target)) {
    draft.wake(sandbox.since + FORGE_KNOWS);
    return undefined;
  }
  if (survey.hasRow(target, registration.row)) return exited;
  return { reason: "finished", detail: "its job ended while the orchestrator was away" };
}

/** How long an agent's story takes when it is told again, at most. */
const STORY = 3_000;

/** Its agent waits for credentials that nobody knows any more: no job can come to it. */
function withoutSecret(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  if (runner.secretLost !== true || runner.agent.phase !== "up" || survey.holdsJob(runner)) return undefined;
  const told = runner.agent.since + STORY;
  if (draft.now >= told) return { reason: "orphaned", detail: "its credentials were lost with its record" };
  draft.wake(told);
  return undefined;
}

function engineFailure(code: number | undefined): string {
  return `the engine ended without a job${code === undefined ? "" : `, exit code ${code}`}`;
}

function exitDetail(runner: Runner): string {
  const { sandbox } = runner;
  if (sandbox.phase !== "exited") return "the sandbox disappeared";
  const { code, signal, reason } = sandbox.exit;
  const how = reason ?? (signal === null ? `exit code ${code ?? "unknown"}` : `signal ${signal}`);
  return `the sandbox ended${runner.agent.phase === "busy" ? " under its job" : ""}: ${how}`;
}

/** Its row is gone from a forge that can be trusted: the next read may have begun before the row was made. */
function lostInForge(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  const { registration } = runner;
  // The forge deletes the row of an ephemeral runner with its job's end; the sandbox may take a moment more.
  if (runner.agent.phase === "finished") return undefined;
  if (registration.phase === "gone") return orphaned(runner, survey);
  const view = survey.view(runner.target);
  if (registration.phase !== "active" || view?.rows === undefined) return undefined;
  if (!survey.isTrusted(runner.target)) {
    keepSuspicion(`${runner.id} row`, survey, draft);
    return undefined;
  }
  const hasRow = survey.hasRow(runner.target, registration.row);
  if (!hasRow || lostItsJob(runner, view)) draft.rowsWanted.add(runner.target);
  if (hasRow) return undefined;
  return isConfirmed(`${runner.id} row`, view.rowsRead, survey, draft, STALE_READS)
    ? orphaned(runner, survey)
    : undefined;
}

function orphaned(runner: Runner, survey: Survey): Cause | undefined {
  if (!survey.holdsJob(runner) && runner.mute !== true) {
    return { reason: "orphaned", detail: "its registration is gone from the forge" };
  }
  if (!survey.isTrusted(runner.target) || mayStillRun(runner, survey.view(runner.target)?.jobs ?? [])) return undefined;
  if (runner.mute === true) {
    return { reason: "finished", detail: "its registration is gone from the forge, as after every job" };
  }
  return { reason: "cancelled-by-forge", detail: "the forge removed its registration and runs its job no more" };
}

/** Whether the queue shows no job that a busy runner's could be: it has ended there, and its row may have gone with it. */
function lostItsJob(runner: Runner, { listsQueue, jobs }: ForgeView): boolean {
  return runner.agent.phase === "busy" && listsQueue && !jobs.some((job) => mayBeIts(runner, job));
}

/** Whether one of the forge's running jobs is, or may be, the runner's. */
export function mayStillRun(runner: Runner, jobs: Job[]): boolean {
  return jobs.some((job) => job.status === "running" && mayBeIts(runner, job));
}

/** Some forges do not say who runs a job, and none does so while it waits. */
function mayBeIts({ registration, handle, labels }: Runner, job: Job): boolean {
  if (job.runnerRow !== undefined) return registration.phase === "active" && job.runnerRow === registration.row;
  return handle === undefined ? covers(labels, job.labels) : handle === job.handle;
}

/** Whether a subject still looks wrong `reads` reads after it was noted. Notes it for the next plan otherwise. */
export function isConfirmed(subject: string, read: number, survey: Survey, draft: Draft, reads = 1): boolean {
  // The counts begin anew with another process.
  const first = Math.min(survey.input.memory.suspects[subject] ?? read, read);
  draft.memory.suspects[subject] = first;
  return read >= first + reads;
}

/** While a forge cannot be read nothing is confirmed, and nothing is forgotten. */
export function keepSuspicion(subject: string, survey: Survey, draft: Draft): void {
  const first = survey.input.memory.suspects[subject];
  if (first !== undefined) draft.memory.suspects[subject] = first;
}
