import type { Distrust } from "../base/trust.ts";
import type { Draft } from "./draft.ts";
import { type Offer, type Turn, turnsOf } from "./fleet.ts";
import { isUnservable } from "./left-alone.ts";
import { rankPools } from "./match.ts";
import { type PoolView, STALE_READS } from "./plan-types.ts";
import type { Obstacle, Room } from "./room.ts";
import { isLive, jobOf } from "./runner.ts";
import type { Supply } from "./supply.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import { refusalBy, refusalFromAfar, refusalOf } from "./trust.ts";
import type { Runner } from "./types.ts";

/** What becomes of a job that waits. */
export type Fate =
  | { kind: "matched"; runner: Runner }
  /** A runner takes it already, although the queue still shows it. */
  | { kind: "picked"; runner: string }
  /** Its bound runner is being removed; only then may there be another. */
  | { kind: "handle-taken"; runner: string }
  | { kind: "given"; pool: PoolView }
  /** Other hosts come first, or did: then the queue is read again before this one makes a runner. */
  | { kind: "others-first"; turn: Exclude<Turn, { kind: "ours" }> }
  | { kind: "host-full"; pool: PoolView; detail: string }
  | { kind: "refused"; pools: PoolView[]; obstacle: Obstacle; pool: string }
  | { kind: "unmatched" }
  /** Pools whose labels fit do not trust it. */
  | { kind: "untrusted"; pool: string; refusal: Distrust }
  | { kind: "unservable"; until: number }
  | { kind: "blocked" }
  | { kind: "frozen" };

/**
 * Gives every job that waits to a runner, or to the pool that is to make one, oldest first. A listening runner keeps the
 * job it was matched to, so that the time it leaves it alone can be told.
 */
export function matchJobs(survey: Survey, supply: Supply, room: Room, draft: Draft): Map<WaitingJob, Fate> {
  const fates = new Map<WaitingJob, Fate>();
  const picked = pickedJobs(survey, draft);
  const holders = handleHolders(survey, draft);
  const kept = keptMatches(survey, draft);
  const open: WaitingJob[] = [];

  for (const job of survey.waiting) {
    const fate = fateBeforeMatching(job, picked, draft) ?? matchKept(job, supply, kept);
    if (fate === undefined) open.push(job);
    else fates.set(job, fate);
  }
  const turns = turnsOf(survey, draft);
  const rest: Offer[] = [];
  const ranked = new Map<string, PoolView[]>();
  for (const job of turns.inOrder(open)) {
    const holder = holderOf(job, holders);
    const runner = holder === undefined ? supply.pick(job, turns.areAllOurs ? "any" : "committed") : undefined;
    if (holder !== undefined) fates.set(job, { kind: "handle-taken", runner: holder });
    else if (runner !== undefined) fates.set(job, { kind: "matched", runner });
    else rest.push({ job, pools: rankedPools(job, survey, ranked) });
  }
  turns.reckonWithOthers(rest);
  for (const offer of rest) {
    fates.set(
      offer.job,
      distrusted(offer.job, survey, ranked) ?? fateByTurn(offer, turns.of(offer.job), supply, room, draft),
    );
  }
  return fates;
}

function fateBeforeMatching(job: WaitingJob, picked: Map<string, string>, draft: Draft): Fate | undefined {
  if (job.targets.size === 0) return { kind: "frozen" };
  if (job.job.status === "blocked") return { kind: "blocked" };
  const runner = picked.get(job.key) ?? [...job.sightings.values()].map(({ key }) => picked.get(key)).find(Boolean);
  if (runner !== undefined) return { kind: "picked", runner };
  const until = isUnservable(job.key, draft);
  return until === undefined ? undefined : { kind: "unservable", until };
}

/** The runner bound to the job, or the listening one it was matched to before. */
function matchKept(job: WaitingJob, supply: Supply, kept: Map<string, string>): Fate | undefined {
  for (const [target, { handle }] of job.sightings) {
    const bound = handle === undefined ? undefined : supply.claimBound(target, handle, job);
    if (bound !== undefined) return { kind: "matched", runner: bound };
  }
  const before = kept.get(job.key);
  const runner = before === undefined ? undefined : supply.claim(before, job);
  return runner === undefined ? undefined : { kind: "matched", runner };
}

function giveToPool(pools: PoolView[], room: Room): Fate {
  let first: { pool: string; obstacle: Obstacle } | undefined;
  for (const view of pools) {
    const obstacle = room.obstacle(view);
    if (obstacle === undefined) {
      const detail = room.reserve(view.pool);
      return detail === undefined ? { kind: "given", pool: view } : { kind: "host-full", pool: view, detail };
    }
    first ??= { pool: view.pool.name, obstacle };
  }
  return first === undefined ? { kind: "unmatched" } : { kind: "refused", pools, ...first };
}

function fateByTurn({ job, pools }: Offer, turn: Turn, supply: Supply, room: Room, draft: Draft): Fate {
  if (turn.kind === "ours") {
    const runner = supply.pick(job, "any");
    return runner === undefined ? giveToPool(pools, room) : { kind: "matched", runner };
  }
  // A host that could not take the job anyway neither waits for others nor reads the queue for it.
  const open = pools.find((view) => room.obstacle(view) === undefined);
  if (!supply.has(job) && (open === undefined || !room.holds(open.pool))) return giveToPool(pools, room);
  if (turn.kind === "look") draft.readAgain[turn.target] = Math.max(turn.since, draft.readAgain[turn.target] ?? 0);
  return { kind: "others-first", turn };
}

function rankedPools(job: WaitingJob, survey: Survey, ranked: Map<string, PoolView[]>): PoolView[] {
  const kind = kindOf(job);
  const pools = ranked.get(kind) ?? viewsOf(job, survey);
  ranked.set(kind, pools);
  return pools.filter(({ pool }) => refusalBy(pool, job) === undefined);
}

/** What becomes of a job that some pool's labels fit, and that none of those trusts. */
function distrusted(job: WaitingJob, survey: Survey, ranked: Map<string, PoolView[]>): Fate | undefined {
  const pools = ranked.get(kindOf(job)) ?? [];
  if (pools.some(({ pool }) => refusalBy(pool, job) === undefined)) return undefined;
  const found = refusalOf(pools, job) ?? refusalFromAfar(job, survey);
  return found === undefined ? undefined : { kind: "untrusted", ...found };
}

const kindOf = (job: WaitingJob): string => [...job.targets, ...job.labels].join("\n");

function viewsOf(job: WaitingJob, survey: Survey): PoolView[] {
  const pools = survey.input.pools.map((view) => view.pool);
  return rankPools(pools, job).flatMap((pool) => survey.pools.get(pool.name) ?? []);
}

/** By job, the listening runner that it was matched to at the last plan. */
function keptMatches(survey: Survey, draft: Draft): Map<string, string> {
  const listening = new Set<string>();
  for (const runner of survey.input.runners) if (runner.agent.phase === "listening") listening.add(runner.id);
  const kept = new Map<string, string>();
  for (const [runner, match] of Object.entries(survey.input.memory.matches)) {
    if (listening.has(runner) && !draft.leaving.has(runner)) kept.set(match.job, runner);
  }
  return kept;
}

/**
 * Jobs that our runners took since the queue was read. The agent's word is faster than the queue: without this, the job
 * that a runner has just taken would look like one more that waits.
 */
function pickedJobs(survey: Survey, draft: Draft): Map<string, string> {
  const { memory, runners } = survey.input;
  const picks = { ...memory.picks };
  const working = new Set<string>();
  for (const runner of runners) {
    if (jobOf(runner) === undefined) continue;
    working.add(runner.id);
    const job = memory.matches[runner.id]?.job ?? runner.jobKey;
    const read = survey.view(runner.target)?.jobsRead;
    if (job !== undefined && read !== undefined) picks[runner.id] ??= { job, target: runner.target, read };
  }
  const waiting = new Set(
    survey.waiting.flatMap((job) => [job.key, ...[...job.sightings.values()].map(({ key }) => key)]),
  );
  const picked = new Map<string, string>();
  for (const [runner, pick] of Object.entries(picks)) {
    const reads = survey.view(pick.target)?.jobsRead ?? Number.POSITIVE_INFINITY;
    // The counts begin anew with another process.
    const read = Math.min(pick.read, reads);
    const isStale = reads < read + STALE_READS && waiting.has(pick.job);
    if (isStale) picked.set(pick.job, runner);
    if (isStale || working.has(runner)) draft.memory.picks[runner] = { ...pick, read };
  }
  for (const runner of runners) {
    const job = memory.matches[runner.id]?.job ?? runner.jobKey;
    if (job !== undefined && awaitsForge(runner)) picked.set(job, runner.id);
  }
  return picked;
}

/** A mute runner that ended may have done its job: the forge will tell. */
const awaitsForge = ({ mute, sandbox, ending }: Runner): boolean =>
  mute === true && sandbox.phase === "exited" && ending === undefined;

/** By handle, the runner that may still be given the job: never two of this host for one. */
function handleHolders(survey: Survey, draft: Draft): Map<string, string> {
  const holders = new Map<string, string>();
  for (const runner of survey.input.runners) {
    if (runner.handle === undefined) continue;
    const { phase } = runner.registration;
    const ends = runner.ending !== undefined || draft.leaving.has(runner.id);
    const mayStillTakeIt = isLive(runner) && (phase === "pending" || phase === "active");
    if (!ends || mayStillTakeIt) holders.set(`${runner.target} ${runner.handle}`, runner.id);
  }
  return holders;
}

function holderOf(job: WaitingJob, holders: Map<string, string>): string | undefined {
  for (const [target, { handle }] of job.sightings) {
    const holder = handle === undefined ? undefined : holders.get(`${target} ${handle}`);
    if (holder !== undefined) return holder;
  }
  return undefined;
}
