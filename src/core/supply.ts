import type { Draft } from "./draft.ts";
import { accepts, labelNames } from "./match.ts";
import type { PoolView } from "./plan-types.ts";
import { isAvailable } from "./runner.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import { mayBeGiven } from "./trust.ts";
import type { AgentState, Runner } from "./types.ts";

/** Runners that may still take a job. */
export interface Supply {
  avail: Runner[];
  /**
   * Takes the best free runner for a job that is not bound to one. `committed` ones only: those that the forge knows, or
   * will, and that serve this job or another one.
   */
  pick(job: WaitingJob, which: "any" | "committed"): Runner | undefined;
  /** Whether there is a free runner for the job. */
  has(job: WaitingJob): boolean;
  /** Takes this very runner, if it is free and may serve the job. */
  claim(runner: string, job: WaitingJob): Runner | undefined;
  /** Takes the runner that is bound to the handle, which is the job's. */
  claimBound(target: string, handle: string, job: WaitingJob): Runner | undefined;
}

/** Runners that accept the same jobs, the one furthest on its way first. */
interface Group {
  acceptor: Runner;
  order: number;
  size: number;
  isCommitted: boolean;
  runners: Runner[];
  next: number;
}

export function supplyOf(survey: Survey, draft: Draft): Supply {
  const avail = survey.input.runners.filter(
    (runner) => isAvailable(runner) && !draft.leaving.has(runner.id) && !survey.holdsJob(runner),
  );
  const free = new Map(avail.map((runner) => [runner.id, runner]));
  const bound = new Map<string, Runner>();
  for (const runner of avail) if (runner.handle !== undefined) bound.set(`${runner.target} ${runner.handle}`, runner);
  const groups = groupsOf(
    avail.filter((runner) => runner.handle === undefined && mayServe(runner, survey, draft)),
    survey,
  );
  const fitting = new Map<string, Group[]>();

  const groupsFor = (job: WaitingJob): Group[] => {
    const kind = [...job.targets, ...job.labels].join("\n");
    const known = fitting.get(kind) ?? groups.filter((group) => accepts(group.acceptor, job));
    fitting.set(kind, known);
    return known.filter((group) => mayBeGiven(group.acceptor, job, survey));
  };
  const firstFree = (group: Group): Runner | undefined => {
    while (group.next < group.runners.length && !free.has(group.runners[group.next]?.id ?? "")) group.next++;
    return group.runners[group.next];
  };
  const take = (runner: Runner | undefined): Runner | undefined => {
    if (runner !== undefined) free.delete(runner.id);
    return runner;
  };

  return {
    avail,
    has: (job) => groupsFor(job).some((group) => firstFree(group) !== undefined),
    pick: (job, which) => {
      let best: { runner: Runner; group: Group } | undefined;
      for (const group of groupsFor(job)) {
        if (which === "committed" && !group.isCommitted) continue;
        const runner = firstFree(group);
        if (runner !== undefined && (best === undefined || isBetter(runner, group, best))) best = { runner, group };
      }
      return take(best?.runner);
    },
    claim: (id, job) => {
      const runner = free.get(id);
      return runner !== undefined &&
        runner.handle === undefined &&
        accepts(runner, job) &&
        mayBeGiven(runner, job, survey)
        ? take(runner)
        : undefined;
    },
    claimBound: (target, handle, job) => {
      const runner = bound.get(`${target} ${handle}`);
      return runner !== undefined && free.has(runner.id) && mayBeGiven(runner, job, survey) ? take(runner) : undefined;
    },
  };
}

/** A warm runner has to be registered for its job, which a paused, unusable or failing pool does not do. */
function mayServe(runner: Runner, survey: Survey, draft: Draft): boolean {
  if (isCommitted(runner)) return true;
  const view = survey.pools.get(runner.pool);
  if (view === undefined || !isAlike(runner, view)) return false;
  return view.usable && !view.paused && (draft.memory.pools[runner.pool]?.until ?? 0) <= draft.now;
}

/** Whether it is registered for a job already, or will be. */
const isCommitted = (runner: Runner): boolean => runner.registration.phase !== "none" || runner.jobKey !== undefined;

/** Whether the pool would make this runner differently today. */
export function isOutdated(runner: Runner, view: PoolView): boolean {
  return !isAlike(runner, view) || (view.revision !== undefined && runner.revision !== view.revision);
}

/** Whether it may still serve the pool's jobs, be it made from something older. */
function isAlike(runner: Runner, { pool }: PoolView): boolean {
  return !(
    runner.driver !== pool.driver ||
    runner.mute !== pool.mute ||
    runner.target !== pool.target ||
    runner.memoryMib !== pool.memoryMib ||
    runner.vcpus !== pool.vcpus ||
    runner.labels.join("\n") !== pool.labels.join("\n")
  );
}

function groupsOf(runners: Runner[], survey: Survey): Group[] {
  const groups = new Map<string, Group>();
  for (const runner of runners) {
    const committed = isCommitted(runner);
    const key = [runner.pool, runner.target, runner.repository, runner.driver, committed, ...runner.labels].join("\n");
    const group = groups.get(key) ?? {
      acceptor: runner,
      order: survey.pools.get(runner.pool)?.pool.order ?? Number.MAX_SAFE_INTEGER,
      size: labelNames(runner.labels).size,
      isCommitted: committed,
      runners: [],
      next: 0,
    };
    group.runners.push(runner);
    groups.set(key, group);
  }
  for (const group of groups.values()) group.runners.sort((a, b) => nearness(b) - nearness(a) || a.since - b.since);
  return [...groups.values()];
}

function isBetter(runner: Runner, group: Group, best: { runner: Runner; group: Group }): boolean {
  const closer = nearness(runner) - nearness(best.runner);
  if (closer !== 0) return closer > 0;
  return (group.size - best.group.size || group.order - best.group.order) < 0;
}

const AGENT_NEARNESS: Partial<Record<AgentState["phase"], number>> = { listening: 6, starting: 4, up: 2 };

/**
 * How near a runner is to taking a job: in the forge's eyes a listening one takes it, whatever we would prefer. One that
 * is registered takes some job in any case, so another is not registered for it.
 */
function nearness(runner: Runner): number {
  return (AGENT_NEARNESS[runner.agent.phase] ?? 0) + (runner.registration.phase === "none" ? 0 : 3);
}
