import type { ForgeView } from "./plan-types.ts";
import type { RunnerEvent } from "./runner.ts";
import type { ClaimedJob, Runner } from "./types.ts";

/** What an agent of ours would have said by the time its engine is known to the forge. */
const CAME_UP: RunnerEvent[] = [{ kind: "agent-up" }, { kind: "listening" }];

/**
 * What the forge tells of a runner whose own agent is mute, as the events that an agent would have sent: it is online, it
 * has a job, its job is over. Only what is news; nothing while the forge cannot be read.
 *
 * An image that insists on registering itself, with the scope's token, shows up under the runner's name in another row.
 */
export function hearsay(runner: Runner, view: ForgeView | undefined): RunnerEvent[] {
  const { mute, registration, sandbox, agent, ending } = runner;
  if (mute !== true || ending !== undefined || view?.health !== "ok" || registration.phase !== "active") return [];
  if (sandbox.phase !== "running" && sandbox.phase !== "exited") return [];

  const rows = (view.rows ?? []).filter(({ row, name }) => row === registration.row || name === runner.name);
  const ids = new Set([registration.row, ...rows.map(({ row }) => row)]);
  const job = view.jobs.find(
    ({ status, runnerRow }) => status === "running" && runnerRow !== undefined && ids.has(runnerRow),
  );
  const isReadSinceExit = sandbox.phase === "exited" && (view.rowsSince ?? 0) >= sandbox.since;
  if (agent.phase === "finished") return [];
  if (agent.phase === "busy") return isReadSinceExit && job === undefined ? [{ kind: "job-finished" }] : [];
  if (job !== undefined) return [...CAME_UP, { kind: "assigned", job: claimOf(job) }];
  // The forge deletes the row of an ephemeral runner with its job's end; a short job is over before anybody saw it.
  if (isReadSinceExit && !rows.some(({ row }) => row === registration.row)) {
    return [...CAME_UP, { kind: "assigned", job: {} }, { kind: "job-finished" }];
  }
  return agent.phase === "silent" && rows.some(({ online }) => online) ? CAME_UP : [];
}

function claimOf({ name, repository }: { name: string; repository?: string }): ClaimedJob {
  return { name, ...(repository === undefined ? {} : { repository }) };
}
