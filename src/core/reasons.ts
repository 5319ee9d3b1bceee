import type { Fate } from "./demand.ts";
import type { Draft } from "./draft.ts";
import { inWords } from "./limits.ts";
import { unknownLabels } from "./match.ts";
import type { WaitReason } from "./plan-types.ts";
import { statusOf } from "./runner.ts";
import type { Survey, WaitingJob } from "./survey.ts";
import type { Runner } from "./types.ts";

/** Why a job is not running yet, for people. `created` is the runner that this plan makes for it. */
export function reasonOf(
  job: WaitingJob,
  fate: Fate,
  created: Runner | undefined,
  survey: Survey,
  draft: Draft,
): WaitReason {
  const seen = { job: job.job };
  switch (fate.kind) {
    case "matched":
      return { ...seen, ...matchedReason(fate.runner), pool: fate.runner.pool, runner: fate.runner.id };
    case "picked":
      return { ...seen, code: "runner-ready", detail: `runner ${fate.runner} has just taken it`, runner: fate.runner };
    case "handle-taken":
      return { ...seen, code: "runner-starting", detail: `waiting until its last runner ${fate.runner} is removed` };
    case "given": {
      const detail = `a runner is being made for it in pool ${fate.pool.pool.name}`;
      return {
        ...seen,
        code: "runner-starting",
        detail,
        pool: fate.pool.pool.name,
        ...(created && { runner: created.id }),
      };
    }
    case "others-first":
      return { ...seen, code: "other-host-first", detail: othersFirst(fate.turn, draft.now) };
    case "host-full":
      return { ...seen, code: "host-full", detail: fate.detail, pool: fate.pool.pool.name };
    case "refused":
      return { ...seen, code: fate.obstacle.code, detail: refusal(fate), pool: fate.pool };
    case "unmatched":
      return { ...seen, code: "no-pool-matches", detail: noPool(job, survey) };
    case "untrusted":
      return { ...seen, ...distrustIn(fate), pool: fate.pool };
    case "unservable":
      return { ...seen, code: "unservable", detail: unservable(fate.until - draft.now) };
    case "blocked":
      return {
        ...seen,
        code: "blocked",
        detail: "the forge holds it back: it waits for other jobs, a concurrency group or an approval",
      };
    case "frozen": {
      const why = survey.view(job.job.target)?.reason ?? "it was not read yet";
      return { ...seen, code: "forge-frozen", detail: `the forge cannot be relied on at the moment: ${why}` };
    }
  }
}

function matchedReason(runner: Runner): Pick<WaitReason, "code" | "detail"> {
  if (runner.agent.phase === "listening")
    return { code: "runner-ready", detail: `runner ${runner.id} is ready to take it` };
  if (statusOf(runner) === "idle")
    return { code: "runner-starting", detail: `warm runner ${runner.id} is being registered for it` };
  return { code: "runner-starting", detail: `runner ${runner.id} ${progressOf(runner)}` };
}

/** How far a runner is on its way to a job. */
function progressOf({ agent, registration, sandbox }: Runner): string {
  if (sandbox.phase === "none" || sandbox.phase === "starting") return "is being made";
  if (agent.phase === "silent") return "boots";
  return registration.phase === "active" ? "has booted and starts its engine" : "has booted and is being registered";
}

function othersFirst(turn: Extract<Fate, { kind: "others-first" }>["turn"], now: number): string {
  if (turn.kind === "look")
    return "other hosts came first; the queue is read once more before this host makes a runner";
  const rest = inWords(turn.until - now);
  if (turn.runner === undefined) return `other hosts come first; this host makes a runner for it in ${rest} if need be`;
  return `runner ${turn.runner} of another host is on its way; this host waits for it ${rest} at most`;
}

function refusal({ obstacle, pools }: Extract<Fate, { kind: "refused" }>): string {
  const others = pools.length - 1;
  return others === 0 ? obstacle.detail : `${obstacle.detail}, and no other pool that fits can take it now`;
}

function noPool(job: WaitingJob, survey: Survey): string {
  if (job.labels.length === 0) return "it names no label, and no pool runs jobs in microVMs";
  const unknown = unknownLabels(
    survey.input.pools.map((view) => view.pool),
    job,
  );
  if (unknown.length === 0) return `no single pool offers all of its labels: ${job.labels.join(", ")}`;
  return `no pool offers ${unknown.length === 1 ? "the label" : "the labels"} ${unknown.join(", ")}`;
}

function distrustIn({ pool, refusal }: Extract<Fate, { kind: "untrusted" }>): Pick<WaitReason, "code" | "detail"> {
  return { code: refusal.code, detail: `pool ${pool} does not trust it: ${refusal.detail}` };
}

function unservable(rest: number): string {
  return `ready runners left it alone, so the forge does not hand it out; tried again in ${inWords(rest)}`;
}
