import type { Logger } from "../base/log.ts";
import type { WaitReason } from "../core/plan-types.ts";

/** Lines for the jobs of one plan: a forge may have thousands that are for somebody else's runners. */
const MOST_LINES = 20;

/** Warns of jobs that no pool will ever take: of each once, as long as it waits. */
export function createUnmatchedWarner(log: Logger): (reasons: readonly WaitReason[]) => void {
  let told = new Set<string>();
  return (reasons) => {
    const still = new Set<string>();
    let fresh = 0;
    for (const { job, code, detail } of reasons) {
      // What is told stays told while the job waits for anything: a forge in trouble, say, hides the reason for a while.
      if (told.has(job.key)) still.add(job.key);
      if (code !== "no-pool-matches" || told.has(job.key)) continue;
      still.add(job.key);
      if (++fresh > MOST_LINES) continue;
      const { key, name, repository, labels, url } = job;
      log.warn({ job: key, name, repository, labels, url, detail }, "a job waits that no pool matches");
    }
    if (fresh > MOST_LINES) {
      log.warn({ jobs: fresh - MOST_LINES }, "more jobs wait that no pool matches: 'fireteact jobs' lists them");
    }
    told = still;
  };
}
