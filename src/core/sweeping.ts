import type { Draft } from "./draft.ts";
import type { ForgeView } from "./plan-types.ts";
import type { Survey } from "./survey.ts";
import type { RunnerRow } from "./types.ts";
import { isConfirmed } from "./verdict.ts";

/** Removes what carries this host's id and belongs to no record, when it was seen so at two reads in a row. */
export function sweep(survey: Survey, draft: Draft): void {
  const { strays, runners, forges } = survey.input;
  if (strays.sandboxes.length === 0 && strays.rows.length === 0) return;
  const forgesAnswer = Object.values(forges).every(tellsWhoWorks);
  const known = new Set(runners.filter((runner) => runner.sandbox.phase !== "gone").map((runner) => runner.hex));
  const working = hexesOfRunningJobs(survey);
  for (const { driver, hex, state } of strays.sandboxes) {
    // Of one that ended, no job goes on, whatever the forge still shows.
    if (known.has(hex) || (working.has(hex) && state !== "exited") || !forgesAnswer) continue;
    if (isConfirmed(`${hex} sandbox`, strays.read, survey, draft)) draft.take({ kind: "sweep-sandbox", driver, hex });
  }
  // As with known runners: the sandbox first.
  const running = new Set(strays.sandboxes.filter(({ state }) => state !== "exited").map(({ hex }) => hex));
  const kept = knownRows(survey);
  for (const row of strays.rows) {
    const view = survey.view(row.target);
    if (view === undefined || !survey.isTrusted(row.target)) continue;
    if (kept.has(keyOf(row)) || kept.has(row.name)) continue;
    if (working.has(hexOf(row.name)) || running.has(hexOf(row.name))) continue;
    if (isConfirmed(`${row.target}#${row.row} row`, view.rowsRead, survey, draft)) {
      draft.take({ kind: "sweep-row", target: row.target, row: row.row, name: row.name });
    }
  }
}

/**
 * Only a forge that was read can tell which sandbox has a job, and only its rows tell whose a running job is. Where even
 * the queue cannot be read, a row may have a job of which nobody hears.
 */
function tellsWhoWorks({ health, rows, jobs, listsQueue, listsRunners }: ForgeView): boolean {
  if (health !== "ok") return false;
  return rows !== undefined || (listsQueue ? !jobs.some((job) => job.status === "running") : !listsRunners);
}

/** Rows that our records know, and names under which the answer to a registration may still come. */
function knownRows(survey: Survey): Set<string> {
  const known = new Set<string>();
  for (const { registration, target, name } of survey.input.runners) {
    if (registration.phase === "active") known.add(keyOf({ target, row: registration.row }));
    if (registration.phase === "none" || registration.phase === "pending") known.add(name);
  }
  return known;
}

const keyOf = (row: Pick<RunnerRow, "target" | "row">): string => `${row.target}#${row.row}`;
const hexOf = (name: string): string => name.slice(name.lastIndexOf("-") + 1);

/** Hexes of rows that the forge shows with a running job: whatever record was lost, the job is not. */
function hexesOfRunningJobs(survey: Survey): Set<string> {
  const hexes = new Set<string>();
  for (const view of Object.values(survey.input.forges)) {
    const busy = new Set(view.jobs.filter((job) => job.status === "running").map((job) => job.runnerRow));
    for (const row of view.rows ?? []) if (busy.has(row.row)) hexes.add(hexOf(row.name));
  }
  return hexes;
}
