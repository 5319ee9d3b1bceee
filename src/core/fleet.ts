import type { Draft } from "./draft.ts";
import type { ForgeView, OtherRow, PoolView } from "./plan-types.ts";
import type { Survey, WaitingJob } from "./survey.ts";

/** The hosts that serve one forge together, as one of them knows them. */
export interface Fleet {
  /** This host's name among them. */
  self: string;
  /** All their names, the same list on every host; or only their number. */
  hosts: number | readonly string[];
}

export const ALONE: Fleet = { self: "", hosts: 1 };

/** How long each host leaves a job to the one before it, milliseconds. */
export const TURN = 5_000;
/** A host that comes later goes by nothing older than this. */
const FRESH = 2_000;
/** A runner of another host that came to no job within this time holds nobody up any more. */
const ON_ITS_WAY = 60_000;

/**
 * This host's place among those that could serve a job: 0 comes first. With names it is exact, by highest random weight:
 * every host reckons the same order, and jobs are spread evenly. With a number alone each host draws a place for itself,
 * between 0 and that number. A host that is not in the list comes after all that are.
 */
export function placeOf(job: number, { self, hosts }: Fleet): number {
  if (typeof hosts === "number") return hosts <= 1 ? 0 : (weight(self, job) / 2 ** 32) * hosts;
  if (!hosts.includes(self)) return hosts.length;
  const own = weight(self, job);
  return hosts.filter((host) => {
    const theirs = weight(host, job);
    return theirs > own || (theirs === own && host < self);
  }).length;
}

/** What keeps this host from making a runner for a job. */
export type Turn =
  | { kind: "ours" }
  /** Other hosts come first, until this uptime; `runner` is the one that another host makes meanwhile. */
  | { kind: "others"; until: number; runner?: string }
  /** Its turn has come, but what it knows of the forge is older than that. */
  | { kind: "look"; target: string; since: number };

/** A job that no runner here is there for, and the pools it may go to. */
export interface Offer {
  job: WaitingJob;
  pools: PoolView[];
}

/** Whose turn it is, for one plan. */
export interface Turns {
  /** There are no other hosts. */
  areAllOurs: boolean;
  /** The jobs, those first whose turn here came first. */
  inOrder(jobs: WaitingJob[]): WaitingJob[];
  /**
   * Reckons with the runners that other hosts made and that have no job yet: where the forge binds them, each for its
   * job; else for as many of these jobs, the last ones first, since those are whose turn came sooner elsewhere.
   */
  reckonWithOthers(offers: Offer[]): void;
  of(job: WaitingJob): Turn;
}

export function turnsOf(survey: Survey, draft: Draft): Turns {
  const { fleet } = survey.input;
  if (fleet.hosts === 1) {
    return { areAllOurs: true, inOrder: (jobs) => jobs, reckonWithOthers: () => {}, of: () => ({ kind: "ours" }) };
  }
  const waits = new Map<number, number>();
  const waitOf = ({ job }: WaitingJob): number => {
    const wait = waits.get(job.id) ?? placeOf(job.id, fleet) * TURN;
    waits.set(job.id, wait);
    return wait;
  };
  const expected = new Map<string, OtherRow>();

  return {
    areAllOurs: false,
    inOrder: (jobs) => {
      const due = new Map(jobs.map((job) => [job, (job.job.queuedAt ?? job.job.at) + waitOf(job)]));
      return jobs.toSorted((a, b) => (due.get(a) ?? 0) - (due.get(b) ?? 0));
    },
    reckonWithOthers: (offers) => {
      const others = othersOnTheirWay(survey, draft.now);
      for (const { job, pools } of offers.toReversed()) {
        const bound = [...job.sightings.values()].map(({ target, handle }) => others.get(`${target} ${handle}`)?.pop());
        const free = () => pools.map(({ pool }) => others.get(`${pool.target} ${pool.prefix}-`)?.pop()).find(Boolean);
        const found = bound.find(Boolean) ?? free();
        if (found !== undefined) expected.set(job.key, found);
      }
    },
    of: (job) => {
      const wait = waitOf(job);
      const since = job.job.since + wait;
      if (draft.now < since) {
        draft.wake(since);
        return { kind: "others", until: since };
      }
      // Nobody else has had a turn yet.
      if (wait === 0 && draft.now < since + TURN) return { kind: "ours" };
      const target = [...job.targets].find((key) => survey.view(key)?.listsQueue === true);
      if (target === undefined) return { kind: "ours" };
      if (!isFresh(survey.view(target), since, draft.now)) return { kind: "look", target, since };
      const other = expected.get(job.key);
      if (other === undefined) return { kind: "ours" };
      const until = other.since + ON_ITS_WAY;
      draft.wake(until);
      return { kind: "others", until, runner: other.name };
    },
  };
}

/** The runners of other hosts that have no job yet, by target and handle or prefix. */
function othersOnTheirWay(survey: Survey, now: number): Map<string, OtherRow[]> {
  const found = new Map<string, OtherRow[]>();
  for (const [target, { others = [] }] of Object.entries(survey.input.forges)) {
    for (const row of others) {
      if (now >= row.since + ON_ITS_WAY) continue;
      // The queue is read before the rows: a bound one that is busy has taken its job in between.
      if (row.handle === undefined && (row.busy === true || survey.hasRunningJob(target, row.row))) continue;
      const key = `${target} ${row.handle ?? `${row.prefix}-`}`;
      found.set(key, [...(found.get(key) ?? []), row]);
    }
  }
  return found;
}

function isFresh(view: ForgeView | undefined, since: number, now: number): boolean {
  return view?.whole !== undefined && view.whole.began >= since && view.whole.ended >= now - FRESH;
}

/** 32 evenly spread bits: FNV-1a with the last steps of MurmurHash3, since short texts alone stir it too little. */
function weight(host: string, job: number): number {
  let hash = 0x811c9dc5;
  for (const character of `${host} ${job}`) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
