import { describe } from "../../base/errors.ts";
import type { ForgeScope, Job } from "../../core/types.ts";
import type { Dialect } from "../dialect.ts";
import { isForgeError } from "../errors.ts";
import type { ForgeCapabilities, Listing } from "../port.ts";
import type { TrustedContext } from "./dialect.ts";
import { listRepositories, type Repository, repositoryWarnings } from "./repositories.ts";
import { loginOf } from "./who.ts";

type Listed = Omit<Job, "since" | "at">;

/** How often the names are looked up again, and how wide the token reads, milliseconds. */
const LIST_AGAIN = 10 * 60_000;
/** Repositories in which nothing happens that are read at one time, in turn. */
const A_TURN = 8;

/** Which repositories there are, and how their queues are read. */
export function createReadings(context: TrustedContext) {
  const { scope, http, clock, log, at } = context;
  const warn = repositoryWarnings(log);
  let listed: { at: number; repositories: Map<string, Repository>; ids: Map<number, Repository> } | undefined;
  /** What is read with one request for many repositories, and what is left to be read apart. */
  let wide: { dialects: Dialect[]; apart: Repository[] } | undefined;
  /** By repository in lower case, what its own queue said last. */
  let queues = new Map<string, Listed[]>();
  const turns = { queue: 0, rows: 0 };
  let due = { queue: new Set<string>(), rows: new Set<string>() };

  const list = async (signal: AbortSignal) => {
    if (listed !== undefined && clock.uptime() < listed.at + LIST_AGAIN) return listed;
    if (scope.kind !== "trusted") throw new Error("only named repositories are read together");
    const found = await listRepositories(scope.repositories, http, warn, signal);
    const repositories = new Map(found.map((each) => [each.name.toLowerCase(), each]));
    listed = { at: clock.uptime(), repositories, ids: new Map(found.map((each) => [each.id, each])) };
    wide = undefined;
    log.debug({ repositories: found.map(({ name }) => name) }, "trusted repositories");
    return listed;
  };

  const repositoryOf = ({ repository, repositoryId }: Listed): Repository | undefined => {
    const byId = repositoryId === undefined ? undefined : listed?.ids.get(repositoryId);
    const byName = repository === undefined ? undefined : listed?.repositories.get(repository.toLowerCase());
    // Where both are said they have to agree.
    if (repository !== undefined && repositoryId !== undefined && byId !== byName) return undefined;
    return byId ?? byName;
  };

  /** Tries from the widest scope to the narrowest; what the token may not read is read repository by repository. */
  const widest = async (can: ForgeCapabilities, all: Repository[], signal: AbortSignal) => {
    const instance = await readable(at({ kind: "instance" }), can, signal);
    if (instance !== undefined) return { dialects: [instance], apart: [] };
    const dialects: Dialect[] = [];
    const apart: Repository[] = [];
    const login = await loginOf(http, signal);
    for (const [owner, own] of Map.groupBy(all, (each) => each.owner)) {
      const scopes: ForgeScope[] = owner === login ? [{ kind: "user" }] : [{ kind: "org", owner }];
      const [dialect] = own.length < 2 ? [] : await Promise.all(scopes.map((one) => readable(at(one), can, signal)));
      if (dialect === undefined) apart.push(...own);
      else dialects.push(dialect);
    }
    return { dialects, apart };
  };

  /** Those in which something happens, and of the others the next few. */
  const nextOf = (what: "queue" | "rows", all: Repository[], busy: (name: string) => boolean): Set<string> => {
    const names = all.map((each) => each.name.toLowerCase());
    const idle = names.filter((name) => !busy(name));
    const from = idle.length === 0 ? 0 : turns[what] % idle.length;
    turns[what] = from + A_TURN;
    return new Set([...names.filter(busy), ...[...idle, ...idle].slice(from, from + Math.min(A_TURN, idle.length))]);
  };
  const hasRunners = () => {
    const active = new Set(context.active().map((name) => name.toLowerCase()));
    return (name: string) => active.has(name);
  };

  const queue = async (
    can: ForgeCapabilities,
    signal: AbortSignal,
    dialectOf: (repository: Repository) => Dialect,
  ): Promise<Listing<Listed>> => {
    const { repositories } = await list(signal);
    const { dialects, apart } = (wide ??= await widest(can, [...repositories.values()], signal));
    const active = hasRunners();
    const busy = (name: string) => active(name) || (queues.get(name)?.length ?? 1) > 0;
    due.queue = nextOf("queue", apart, busy);
    const read = new Map<string, Listed[]>();
    const items: Listed[] = [];
    let complete = true;
    for (const dialect of dialects) {
      const listing = await dialect.jobs(can, [], signal).catch((error: unknown) => {
        // Whoever may read less now reads narrower the next time.
        wide = undefined;
        throw error;
      });
      items.push(...listing.items.map((job) => named(job, repositoryOf(job))));
      complete &&= listing.complete;
    }
    for (const repository of apart) {
      const name = repository.name.toLowerCase();
      const before = queues.get(name);
      const listing = due.queue.has(name) ? await own(repository, dialectOf(repository), can, signal) : undefined;
      complete &&= listing?.complete ?? true;
      read.set(name, listing?.items ?? before ?? []);
    }
    queues = read;
    return { items: [...items, ...[...read.values()].flat()], complete };
  };

  /** The queue of one repository, which the forge itself keeps to it. One that is gone since it was listed is empty. */
  const own = async (repository: Repository, dialect: Dialect, can: ForgeCapabilities, signal: AbortSignal) => {
    try {
      const { items, complete } = await dialect.jobs(can, [], signal);
      const ours = items.filter((job) => repositoryOf(named(job, repository)) === repository);
      return { items: ours.map((job) => named(job, repository)), complete };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      warn(repository.name, describe(error));
      return { items: [], complete: true };
    }
  };

  return {
    queue,
    repositoryOf,
    repositories: async (signal: AbortSignal) => {
      const all = [...(await list(signal)).repositories.values()];
      due.rows = nextOf("rows", all, hasRunners());
      return all;
    },
    named: async (name: string, signal: AbortSignal) => (await list(signal)).repositories.get(name.toLowerCase()),
    isDue: (repository: Repository, what: "queue" | "rows") => due[what].has(repository.name.toLowerCase()),
  };

  async function readable(dialect: Dialect, can: ForgeCapabilities, signal: AbortSignal): Promise<Dialect | undefined> {
    try {
      await dialect.jobs(can, [], signal);
      return dialect;
    } catch (error) {
      if (isRefusal(error)) return undefined;
      throw error;
    }
  }

  function named(job: Listed, repository: Repository | undefined): Listed {
    return repository === undefined || job.repository !== undefined ? job : { ...job, repository: repository.name };
  }
}

/** Of a token that is wrong altogether nothing can be learned but that. */
const isRefusal = (error: unknown) => isForgeError(error, "FORGE_FORBIDDEN", "FORGE_NOT_FOUND");
