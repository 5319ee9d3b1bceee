import { describe } from "../../base/errors.ts";
import type { JobOrigin } from "../../base/trust.ts";
import type { Job } from "../../core/types.ts";
import { isForgeError } from "../errors.ts";
import type { TrustedContext } from "./dialect.ts";
import type { Repository } from "./repositories.ts";

type Listed = Omit<Job, "since" | "at">;

/** Origins that are remembered: what started a run never changes. */
const REMEMBERED = 4_096;
/** Asked for in one reading of the queue, oldest first; the rest has its turn at the next. */
const A_READING = 25;
/** One that the forge did not tell is asked for again after this time, milliseconds. */
const ASK_AGAIN = 30_000;

/** What started jobs, asked for once each. */
export function createOrigins({ clock, log, origin }: Pick<TrustedContext, "clock" | "log" | "origin">) {
  const known = new Map<string, { origin: JobOrigin | undefined; at: number }>();

  const isMissing = (job: Listed): boolean => {
    const found = known.get(job.key);
    return found === undefined || (found.origin === undefined && clock.uptime() >= found.at + ASK_AGAIN);
  };
  const remember = (key: string, found: JobOrigin | undefined) => {
    known.delete(key);
    known.set(key, { origin: found, at: clock.uptime() });
    const [oldest] = known.keys();
    if (known.size > REMEMBERED && oldest !== undefined) known.delete(oldest);
  };

  return {
    /** One job's trouble does not hold up the others; a forge that fails as a whole does. */
    fetch: async (asked: { job: Listed; repository: Repository }[], signal: AbortSignal): Promise<void> => {
      const missing = asked.filter(({ job }) => isMissing(job)).toSorted((a, b) => a.job.id - b.job.id);
      for (const { job, repository } of missing.slice(0, A_READING)) {
        try {
          remember(job.key, await origin(repository, job, signal));
        } catch (error) {
          if (!isForgeError(error) || error.outage) throw error;
          log.warn(
            { job: job.key, repository: repository.name, cause: describe(error) },
            "what started a job is not known",
          );
          remember(job.key, undefined);
        }
      }
    },
    attach: (job: Listed): Listed => {
      const found = known.get(job.key)?.origin;
      return found === undefined ? job : { ...job, origin: found };
    },
  };
}
