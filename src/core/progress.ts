import { type Draft, end, remove } from "./draft.ts";
import { settleJob } from "./job-end.ts";
import { inWords, isTooOld, lateStart } from "./limits.ts";
import { STALE_READS } from "./plan-types.ts";
import { isBornRegistered, isLive, mayAct } from "./runner.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import type { Runner } from "./types.ts";
import { isConfirmed, keepSuspicion, mayStillRun, verdict } from "./verdict.ts";

/** An agent that was asked to drain and did not answer is asked again after this time. */
const ASK_AGAIN = 30_000;

/** What follows from a runner's own state, whatever the demand: its end, and all the steps of winding down. */
export function settle(runner: Runner, survey: Survey, draft: Draft): void {
  if (runner.ending !== undefined) {
    draft.leaving.add(runner.id);
    windDown(runner, survey, draft);
    return;
  }
  const cause = verdict(runner, survey, draft);
  if (cause !== undefined) {
    draft.leaving.add(runner.id);
    end(draft, runner, cause);
  } else if (runner.removal !== undefined) {
    if (runner.agent.phase === "busy") draft.take({ kind: "keep", runner: runner.id });
    else if (runner.agent.phase === "draining" && runner.mute === true) endQuiet(runner, survey, draft);
    else if (runner.agent.phase === "draining") askAgain(runner, draft);
    else remove(draft, runner, runner.removal);
  } else if (isTooOld(runner, draft) && !survey.holdsJob(runner)) {
    remove(draft, runner, { reason: "lifetime", detail: `it is older than ${inWords(runner.limits.lifetime)}` });
  } else {
    const late = lateStart(runner, survey, draft);
    if (late !== undefined) remove(draft, runner, late);
  }
}

/**
 * The sandbox goes first: as long as an engine in it may ask for a job, its registration stays, since a job that came
 * meanwhile can be ended with it only. When both are gone the record is closed.
 */
function windDown(runner: Runner, survey: Survey, draft: Draft): void {
  const { sandbox, registration } = runner;
  const sandboxGone = sandbox.phase === "gone" || (sandbox.phase === "none" && draft.isFree(runner, "host"));
  // A forge that the configuration names no more cannot be asked for anything.
  const outOfReach = survey.view(runner.target) === undefined;
  const unregistered = registration.phase === "none" && draft.isFree(runner, "forge");
  const rowGone = registration.phase === "gone" || unregistered || outOfReach;
  if (isLive(runner)) draft.take({ kind: "destroy", runner: runner.id });
  if (!settleJob(runner, survey, draft) || mayTakeJob(runner)) return;
  // A forge in trouble is left alone; the row waits for it, and holds nothing of the host.
  if ((registration.phase === "pending" || registration.phase === "active") && survey.isTrusted(runner.target)) {
    draft.take({ kind: "deregister", runner: runner.id });
  }
  if (sandboxGone && rowGone) draft.take({ kind: "close", runner: runner.id });
}

/** Whether an engine may still ask for a job in the runner's name, or take one unheard. */
function mayTakeJob(runner: Runner): boolean {
  return mayAct(runner) && runner.agent.phase !== "drained" && runner.agent.phase !== "finished";
}

function askAgain(runner: Runner, draft: Draft): void {
  const { agent, removal } = runner;
  if (agent.phase !== "draining" || removal === undefined) return;
  const asked = draft.memory.asked[runner.id] ?? agent.since;
  const { reason, detail } = removal;
  if (draft.now >= asked + ASK_AGAIN && draft.take({ kind: "drain", runner: runner.id, reason, detail })) {
    draft.memory.asked[runner.id] = draft.now;
    draft.wake(draft.now + ASK_AGAIN);
  } else {
    draft.wake(asked + ASK_AGAIN);
  }
}

/** A mute runner cannot say that it takes no more jobs: it goes once the queue, read anew, shows none that may be its own. */
function endQuiet(runner: Runner, survey: Survey, draft: Draft): void {
  const view = survey.view(runner.target);
  const { removal } = runner;
  if (removal === undefined || view === undefined) return;
  const subject = `${runner.id} quiet`;
  if (!survey.isTrusted(runner.target)) keepSuspicion(subject, survey, draft);
  else if (!mayStillRun(runner, view.jobs) && isConfirmed(subject, view.jobsRead, survey, draft, STALE_READS)) {
    end(draft, runner, removal);
  }
}

/** The next steps on a runner's way to its job. `job` is what a warm one was matched to. */
export function advance(runner: Runner, job: WaitingJob | undefined, survey: Survey, draft: Draft): void {
  if (draft.leaving.has(runner.id) || runner.removal !== undefined) return;
  const { phase } = runner.sandbox;
  const mayBoot = !isBornRegistered(runner) || runner.registration.phase === "active";
  if (mayBoot && (phase === "none" || phase === "starting")) draft.take({ kind: "boot", runner: runner.id });
  advanceRegistration(runner, job, survey, draft);
  if (phase !== "running" || runner.mute === true) return;
  const { agent, credentials, registration } = runner;
  const engineRuns = agent.phase !== "silent" && agent.phase !== "up" && agent.phase !== "starting";
  if (credentials === "none" && registration.phase === "active" && !engineRuns) {
    draft.take({ kind: "give", runner: runner.id });
  }
  if (credentials !== "withdrawn" && engineRuns) draft.take({ kind: "withdraw", runner: runner.id });
}

/**
 * A registered runner takes whatever job comes, so where the queue can be read only a runner with a job in view is one. A
 * mute one has to be, to be there at all.
 */
function advanceRegistration(runner: Runner, job: WaitingJob | undefined, survey: Survey, draft: Draft): void {
  const { phase } = runner.registration;
  if (phase === "pending") {
    // Begun by a process that died: carried on, since whether a row exists is not known.
    if (survey.isTrusted(runner.target)) draft.take({ kind: "register", runner: runner.id });
    return;
  }
  if (phase !== "none" || !survey.isTrusted(runner.target)) return;
  const sighting = job?.sightings.get(runner.target);
  if (sighting !== undefined && sighting.key !== runner.jobKey) {
    draft.take({ kind: "register", runner: runner.id, job: sighting });
  } else if (sighting !== undefined || runner.mute === true || survey.view(runner.target)?.listsQueue === false) {
    draft.take({ kind: "register", runner: runner.id });
  }
}
