import { recordFailure, without } from "./backoff.ts";
import { emptyMemory, type PlanInput, type PlanMemory } from "./plan-types.ts";
import { isBornRegistered } from "./runner.ts";
import { type Lane, laneKey, retryKey, type Step } from "./steps.ts";
import type { EndReason, Runner } from "./types.ts";

/** Why something ends; the plan's short form of `Ending`. */
export interface Cause {
  reason: EndReason;
  detail: string;
}

/** What one plan has decided so far. Its parts add to it in one pass; it is given out as the plan's output. */
export interface Draft {
  readonly now: number;
  readonly steps: Step[];
  /** This plan's own copy: parts change it in place. */
  memory: PlanMemory;
  /** Runners that this plan ends or drains. */
  readonly leaving: Set<string>;
  wakeAt: number | undefined;
  /** See `PlanOutput`. */
  readonly readAgain: Record<string, number>;
  /** Targets whose rows are wanted soon. */
  readonly rowsWanted: Set<string>;
  /** Adds the step unless its lane is taken or it failed too recently; says whether it did. */
  take(step: Step): boolean;
  /** Whether nothing runs, or was planned, in a runner's lane. */
  isFree(runner: Runner, lane: Lane): boolean;
  /** The plan must run again at this uptime, if not sooner. */
  wake(at: number): void;
}

export function createDraft(input: PlanInput): Draft {
  const taken = new Set(input.inFlight);
  const draft: Draft = {
    now: input.now,
    steps: [],
    memory: copyOf(input),
    leaving: new Set(),
    wakeAt: undefined,
    readAgain: {},
    rowsWanted: new Set(),
    take: (step) => {
      const lane = laneKey(step);
      if (taken.has(lane)) return false;
      const until = draft.memory.retries[retryKey(step)]?.until ?? 0;
      if (until > input.now) {
        draft.wake(until);
        return false;
      }
      taken.add(lane);
      draft.steps.push(step);
      return true;
    },
    isFree: (runner, lane) => !taken.has(`${runner.id}:${lane}`),
    wake: (at) => {
      if (at > input.now && at < (draft.wakeAt ?? Number.POSITIVE_INFINITY)) draft.wakeAt = at;
    },
  };
  return draft;
}

/** What is true only as long as it is seen again is noted anew by every plan. */
function copyOf({ memory, runners }: PlanInput): PlanMemory {
  const whole = { ...emptyMemory(), ...memory };
  const asked: PlanMemory["asked"] = {};
  for (const runner of runners) {
    const at = whole.asked[runner.id];
    if (at !== undefined && runner.removal !== undefined) asked[runner.id] = at;
  }
  return {
    pools: { ...whole.pools },
    retries: { ...whole.retries },
    unservable: { ...whole.unservable },
    suspects: {},
    matches: {},
    picks: {},
    asked,
  };
}

/** Reasons that tell of a runner that never came to its work: its pool backs off. */
const FAILED_CREATIONS: ReadonlySet<EndReason> = new Set([
  "register-failed",
  "boot-failed",
  "boot-timeout",
  "ready-timeout",
  "engine-failed",
]);

/** Ends a runner whatever it does. */
export function end(draft: Draft, runner: Runner, cause: Cause): void {
  if (!draft.take({ kind: "end", runner: runner.id, reason: cause.reason, detail: cause.detail })) return;
  draft.leaving.add(runner.id);
  const died = cause.reason === "sandbox-exited" && runner.agent.phase !== "busy" && runner.agent.phase !== "finished";
  if (died || FAILED_CREATIONS.has(cause.reason)) {
    draft.memory = recordFailure(draft.memory, runner.pool, cause.detail, draft.now);
  }
}

/**
 * Removes a runner that holds no job, as far as is known. Where it could have got one by now its agent is asked first,
 * and its answer decides: a job that arrived meanwhile wins.
 */
export function remove(draft: Draft, runner: Runner, cause: Cause): boolean {
  if (isUntold(runner)) {
    const mayBeGiven = runner.registration.phase === "active" && !draft.isFree(runner, "host");
    if (!mayBeGiven) end(draft, runner, cause);
    return draft.leaving.has(runner.id);
  }
  const { phase } = runner.agent;
  const asks = phase === "up" || phase === "starting" || phase === "listening";
  // Nobody can ask a mute one: it is watched in the forge instead, whatever it does.
  const hears = runner.sandbox.phase === "running" && (asks || (runner.mute === true && phase === "silent"));
  if (!hears || !draft.take({ kind: "drain", runner: runner.id, reason: cause.reason, detail: cause.detail }))
    return false;
  draft.memory.asked[runner.id] = draft.now;
  draft.leaving.add(runner.id);
  return true;
}

/** Whether its sandbox cannot have the credentials yet. */
function isUntold(runner: Runner): boolean {
  const { sandbox, credentials, agent } = runner;
  if (isBornRegistered(runner)) return sandbox.phase === "none";
  // Our note of the hand-over may have been lost: an agent that is further than that has them.
  return credentials === "none" && (agent.phase === "silent" || agent.phase === "up");
}

const FORGOTTEN_AFTER = 60 * 60_000;

/** Drops what the memory holds about things that are no more. */
export function tidy(draft: Draft, pools: ReadonlySet<string>): PlanMemory {
  let { memory } = draft;
  for (const pool of Object.keys(memory.pools)) {
    if (!pools.has(pool)) memory = { ...memory, pools: without(memory.pools, pool) };
  }
  for (const [key, retry] of Object.entries(memory.retries)) {
    if (retry.until + FORGOTTEN_AFTER < draft.now) memory = { ...memory, retries: without(memory.retries, key) };
  }
  return memory;
}
