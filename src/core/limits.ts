import type { Cause, Draft } from "./draft.ts";
import type { Survey } from "./survey.ts";
import type { EndReason, Runner } from "./types.ts";

/** How long a sandbox may go on after its engine ended. */
export const FINISH_GRACE = 2 * 60_000;

/** How long an agent has for telling a process that takes its sandbox over what happened meanwhile. */
const NEWS = 10_000;

/** How long the agent of an engine that is late has for its answer whether that has taken a job just now. */
export const ANSWER = 10_000;
const LATE = "the engine did not begin to ask for jobs";

interface Limit {
  reason: EndReason;
  /** Uptime at which it is reached. */
  at: number;
  detail: string;
}

/** The limit that the runner has reached; where there is none, the plan wakes at the next. */
export function reachedLimit(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  for (const limit of limitsOf(runner, survey.holdsJob(runner))) {
    if (limit.reason === "boot-timeout" && runner.mute === true && !isToldSince(limit.at, runner, survey)) continue;
    if (limit.at <= draft.now) return { reason: limit.reason, detail: withTrouble(runner, limit.detail) };
    draft.wake(limit.at);
  }
  return undefined;
}

const withTrouble = ({ trouble }: Runner, detail: string): string =>
  trouble === undefined ? detail : `${detail}: ${trouble}`;

function limitsOf(runner: Runner, holdsJob: boolean): Limit[] {
  const { agent, limits, removal, sandbox } = runner;
  const found: Limit[] = [];
  const adopted = runner.adopted?.since ?? Number.NEGATIVE_INFINITY;
  const add = (reason: EndReason, since: number, limit: number, what: string) =>
    found.push({ reason, at: Math.max(since + limit, adopted + NEWS), detail: `${what} within ${inWords(limit)}` });
  // While no process was there to be told, and to hand out credentials, nobody could be late.
  const anew = (since: number) => Math.max(since, adopted);

  // The forge may know of a job that the agent has not told of yet: then start-up is over, whatever the agent says.
  if (!holdsJob && sandbox.phase === "running") {
    if (agent.phase === "silent" && runner.mute === true) {
      add(
        "boot-timeout",
        anew(sandbox.since),
        limits.boot + limits.ready,
        "its runner did not come online in the forge",
      );
    } else if (agent.phase === "silent") {
      add("boot-timeout", anew(sandbox.since), limits.boot, "the sandbox did not report");
    }
    const waits = waitsForEngine(runner);
    if (waits !== undefined) add("ready-timeout", anew(waits) + ANSWER, limits.ready, LATE);
    if (removal?.reason === "ready-timeout" && agent.phase === "draining") {
      found.push({ reason: removal.reason, at: anew(removal.since) + ANSWER, detail: removal.detail });
    }
  }
  if (agent.phase === "busy") add("job-timeout", agent.since, limits.job, "the job did not end");
  else if (agent.phase === "finished") {
    add("finished", agent.since, FINISH_GRACE, "the job ended, but its sandbox did not end");
  } else {
    const mayGetJob = holdsJob || runner.mute === true || agent.phase === "listening" || agent.phase === "draining";
    add("lifetime", runner.since, limits.lifetime + (mayGetJob ? limits.job : 0), "the runner did not end");
  }
  return found;
}

/** A mute runner is late only when the forge, read after the limit, does not know it as online. */
function isToldSince(at: number, { target }: Runner, survey: Survey): boolean {
  return survey.isTrusted(target) && (survey.view(target)?.rowsSince ?? 0) >= at;
}

/**
 * Whether a runner that listens for jobs is too old to take one. It is asked to stop rather than ended, since a job may
 * arrive at this moment; a job that it has taken is held to the job's limit only.
 */
export function isTooOld(runner: Runner, draft: Draft): boolean {
  if (runner.agent.phase !== "listening") return false;
  const end = runner.since + runner.limits.lifetime;
  draft.wake(end);
  return end <= draft.now;
}

/**
 * Why a runner whose engine should have begun to ask for jobs is to be removed. It is asked to stop rather than ended: it
 * may be beginning just now, and have got a job with its first question.
 */
export function lateStart(runner: Runner, survey: Survey, draft: Draft): Cause | undefined {
  const since = runner.sandbox.phase === "running" && !survey.holdsJob(runner) ? waitsForEngine(runner) : undefined;
  if (since === undefined) return undefined;
  const end = Math.max(since, runner.adopted?.since ?? since) + runner.limits.ready;
  draft.wake(end);
  const detail = withTrouble(runner, `${LATE} within ${inWords(runner.limits.ready)}`);
  return end <= draft.now ? { reason: "ready-timeout", detail } : undefined;
}

/**
 * Since when everything is there for the engine to start, but it does not ask for jobs: the credentials may be there long
 * before the sandbox has booted.
 */
function waitsForEngine({ agent, registration, given }: Runner): number | undefined {
  if (agent.phase !== "up" && agent.phase !== "starting") return undefined;
  if (given !== undefined) return Math.max(given.since, agent.since);
  return registration.phase === "active" ? Math.max(registration.since, agent.since) : undefined;
}

/** A duration for people. */
export function inWords(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const rest = minutes % 60;
  return `${Math.floor(minutes / 60)} h${rest === 0 ? "" : ` ${rest} min`}`;
}
