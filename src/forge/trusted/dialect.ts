import { type Clock } from "../../base/clock.ts";
import type { JobOrigin } from "../../base/trust.ts";
import type { Job, RunnerRow } from "../../core/types.ts";
import type { Dialect, DialectContext } from "../dialect.ts";
import { ForgeError, isForgeError } from "../errors.ts";
import { createOrigins } from "./origins.ts";
import { createReadings } from "./readings.ts";
import type { Repository } from "./repositories.ts";

export interface TrustedContext extends DialectContext {
  clock: Clock;
  /** Names of the repositories that have runners of ours now. */
  active: () => readonly string[];
  /** The flavour's own dialect at one scope. */
  at: (scope: DialectContext["scope"]) => Dialect;
  /** What started a job, asked for anew. */
  origin: (repository: Repository, job: Listed, signal: AbortSignal) => Promise<JobOrigin | undefined>;
}

type Listed = Omit<Job, "since" | "at">;

/**
 * Several repositories as one target: their queues are read together as far as the token allows, and each runner is
 * registered at the one repository of its job, so that the forge itself gives it no job of another.
 */
export function createTrustedDialect(context: TrustedContext): Dialect {
  const readings = createReadings(context);
  const origins = createOrigins(context);
  /** By repository, in lower case. */
  const dialects = new Map<string, Dialect>();
  /** The repository of a row, in lower case. */
  const places = new Map<number, string>();
  let rows = new Map<string, RunnerRow[]>();

  const dialectOf = ({ name, owner, repo }: Repository): Dialect => {
    const key = name.toLowerCase();
    const known = dialects.get(key) ?? context.at({ kind: "repo", owner, repo });
    dialects.set(key, known);
    return known;
  };

  const jobs: Dialect["jobs"] = async (can, labels, signal) => {
    const { items, complete } = await readings.queue(can, signal, dialectOf);
    const offered = new Set(labels);
    const isAsked = (job: Listed) => job.labels.length > 0 && job.labels.every((label) => offered.has(label));
    // Of others' repositories only what a pool here could be meant by: it is told why not.
    const ours = items.filter((job) => readings.repositoryOf(job) !== undefined || isAsked(job));
    const asked = ours.flatMap((job) => {
      const repository = job.status === "queued" && isAsked(job) ? readings.repositoryOf(job) : undefined;
      return repository === undefined ? [] : [{ job, repository }];
    });
    if (can.tellsOrigins) await origins.fetch(asked, signal);
    return { items: ours.map((job) => origins.attach(job)), complete };
  };

  const runners: Dialect["runners"] = async (signal) => {
    const repositories = await readings.repositories(signal);
    const read = new Map<string, RunnerRow[]>();
    for (const repository of repositories) {
      const key = repository.name.toLowerCase();
      const before = rows.get(key);
      if (before !== undefined && !readings.isDue(repository, "rows")) {
        read.set(key, before);
        continue;
      }
      const listing = await dialectOf(repository).runners(signal).catch(gone);
      if (!listing.complete) return { items: [...rows.values()].flat(), complete: false };
      read.set(
        key,
        listing.items.map((row) => ({ ...row, repository: repository.name })),
      );
    }
    rows = read;
    for (const [key, list] of rows) for (const { row } of list) places.set(row, key);
    return { items: [...rows.values()].flat(), complete: true };
  };

  /** One repository that is gone, or shut, does not hide the rows of the others. */
  const gone = (error: unknown) => {
    if (isForgeError(error, "FORGE_NOT_FOUND", "FORGE_FORBIDDEN")) return { items: [], complete: true };
    throw error;
  };

  /** Of a row that nobody knows any repository's token may say that it is not there. */
  const dialectsFor = async (row: number, repository: string | undefined, signal: AbortSignal): Promise<Dialect[]> => {
    const known = repository?.toLowerCase() ?? places.get(row);
    if (known !== undefined) {
      const [owner = "", repo = ""] = known.split("/");
      return [dialects.get(known) ?? context.at({ kind: "repo", owner, repo })];
    }
    return (await readings.repositories(signal)).slice(0, 1).map(dialectOf);
  };

  return {
    jobs,
    runners,
    register: async (can, request, signal) => {
      const repository = await readings.named(request.repository ?? "", signal);
      if (repository === undefined) {
        throw new ForgeError("FORGE_REFUSED", `${request.name} was to be registered at no trusted repository`, {
          facts: { repository: request.repository },
        });
      }
      const registration = await dialectOf(repository).register(can, request, signal);
      places.set(registration.row, repository.name.toLowerCase());
      return registration;
    },
    registrationToken: () =>
      Promise.reject(new ForgeError("FORGE_UNSUPPORTED", "several repositories have no registration token in common")),
    deleteRunner: async (row, signal, repository) => {
      for (const dialect of await dialectsFor(row, repository, signal)) await dialect.deleteRunner(row, signal);
      places.delete(row);
    },
    disableRunner: async (row, signal) => {
      for (const dialect of await dialectsFor(row, undefined, signal)) await dialect.disableRunner(row, signal);
    },
  };
}
