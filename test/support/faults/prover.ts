import type { JobStatus } from "../../../src/forge-simulator/records.ts";
import type { ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import type { Host } from "../host.ts";
import type { Ground } from "./ground.ts";

/** Something that must not be. */
export interface Finding {
  kind: "leak" | "job";
  what: string;
}

/** How each job has to end, by its name; `success` where it says nothing, `timed-out` for a failure by the forge's timer. */
export type Expected = Readonly<Record<string, JobStatus | "timed-out">>;

/** Written by each job once, so that the forge's log tells how often it ran. */
export const runMark = (job: string): string => `this is the one run of ${job}`;

/** Looks at the forge's own records of jobs: each ended as it should, after one attempt, by the word of its runner. */
export function proveJobs(forge: ForgeSimulator, expected: Expected): Finding[] {
  return forge.jobs().flatMap(({ key, status, attempts }) => {
    const timedOut = expected[key] === "timed-out";
    const wanted = timedOut ? "failure" : (expected[key] ?? "success");
    const found: string[] = [];
    if (status !== wanted) found.push(`is ${status} and not ${wanted}`);
    const tries = attempts.map(({ runner, status, endedBy }) => `${runner.name}: ${status}, ended by ${endedBy}`);
    const cancelled = wanted === "cancelled";
    if (cancelled ? attempts.length > 1 : attempts.length !== 1) {
      found.push(`had ${attempts.length} attempts (${tries.join("; ")})`);
    } else if (!cancelled && attempts[0]?.endedBy !== (timedOut ? "zombie" : "runner"))
      found.push(`was not ended by ${timedOut ? "the forge's timer" : "its runner"} (${tries.join()})`);
    const runs = attempts.flatMap(({ log }) => log).filter(({ content }) => content.endsWith(runMark(key))).length;
    if (runs > 1 || (wanted === "success" && runs === 0)) found.push(`ran ${runs} times by its log`);
    return found.map((what) => ({ kind: "job" as const, what: `job ${key} ${what}` }));
  });
}

/**
 * Looks at the forge's own records of runners: none of ours is left, none had two jobs, and those of others are there.
 *
 * @param foreign names of runners that are not this host's
 */
export function proveRows(forge: ForgeSimulator, foreign: readonly string[]): Finding[] {
  const rows = forge.runners("all");
  const left = rows.filter(({ name, deleted }) => !deleted && !foreign.includes(name));
  const twice = rows.filter(({ tasks }) => tasks.length > 1);
  const harmed = rows.filter(({ name, deleted }) => deleted && foreign.includes(name));
  return [
    ...left.map(({ name }) => ({ kind: "leak" as const, what: `row ${name} in the forge` })),
    ...twice.map(({ name, tasks }) => ({
      kind: "job" as const,
      what: `runner ${name} was given ${tasks.length} jobs`,
    })),
    ...harmed.map(({ name }) => ({ kind: "leak" as const, what: `another's row ${name} was deleted` })),
  ];
}

/** Everything that must not be once a world has come to rest and its daemon has stopped. */
export async function prove(
  host: Host,
  ground: Ground,
  expected: Expected,
  foreign: readonly string[],
): Promise<Finding[]> {
  return [
    ...proveJobs(host.forge, expected),
    ...proveRows(host.forge, foreign),
    ...(await ground.remains(host)).map((what) => ({ kind: "leak" as const, what })),
  ];
}
