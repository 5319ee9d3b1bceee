import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { openSecret } from "../config/secret.ts";
import type { Settings, TargetSettings } from "../core/settings.ts";
import type { Job } from "../core/types.ts";
import { describeMode } from "../forge/capabilities.ts";
import { createCircuit, type ForgeCircuit } from "../forge/circuit.ts";
import { createForgeTarget } from "../forge/create.ts";
import type { ForgeTarget } from "../forge/port.ts";
import { RANK } from "../forge/webhook.ts";
import { type ForgeWatcher, watchForge } from "../orchestrator/observe.ts";
import { createPollBudget, type PollBudget } from "../orchestrator/poll-budget.ts";
import type { Records } from "../orchestrator/records.ts";
import type { PushedJob, Store } from "../store/port.ts";
import type { ForgeRequest } from "../telemetry/metrics.ts";

/** The forge targets in use with their watchers, kept in step with the configuration. */
export interface Targets {
  target(key: string): ForgeTarget;
  list(): ForgeTarget[];
  /** What webhooks said of forges whose queue cannot be read; see forge/webhook.ts. */
  pushed: { known: PushedJob[]; keep(heard: Omit<PushedJob, "job"> & { job: Omit<Job, "since" | "at"> }): void };
  watchers(): Map<string, ForgeWatcher>;
  /** Adds what is new, replaces what changed, drops what neither the settings nor a runner needs. */
  update(settings: Settings): void;
  stop(): Promise<void>;
}

interface Entry {
  target: ForgeTarget;
  watcher: ForgeWatcher;
  /** What it was made from, to tell whether that changed. */
  wanted: TargetSettings;
  interval: number;
}

/** A forge in trouble is left alone for less than the time between two reads, so that the next read finds it well. */
const REST_OF_INTERVAL = 0.8;
/** Version and queue. */
const COST_OF_FAILURE = 2;
/** What a read of a target sends; everything else is for a runner. */
const POLLS = new Set(["version", "jobs", "runners", "repositories", "origin"]);

export function createTargets(deps: {
  hostId: string;
  clock: Clock;
  log: Logger;
  records: Records;
  store: Pick<Store, "pushedJobs" | "savePushedJob">;
  /** Hosts that are reached without a proxy, as in `NO_PROXY`. */
  noProxy?: string | undefined;
  wake: () => void;
  onRequest: (request: ForgeRequest) => void;
}): Targets {
  const entries = new Map<string, Entry>();
  const watchers = new Map<string, ForgeWatcher>();
  /** By the forge's address: scopes of one forge share its troubles. */
  const circuits = new Map<string, ForgeCircuit>();
  /** By the forge's address as well: it is one forge that shall not be asked too much. */
  const budgets = new Map<string, PollBudget>();
  let settings: Settings | undefined;

  const circuitOf = (url: string, interval: number): ForgeCircuit => {
    const known = circuits.get(url) ?? createCircuit({ clock: deps.clock, pause: interval * REST_OF_INTERVAL });
    circuits.set(url, known);
    return known;
  };

  const budgetOf = (url: string): PollBudget => {
    const known = budgets.get(url) ?? createPollBudget(deps.clock);
    budgets.set(url, known);
    return known;
  };

  const add = (wanted: TargetSettings, interval: number) => {
    const { key, url, scope, caFile, proxy, allowPersistentRegistration } = wanted;
    const log = deps.log.child({ target: key });
    const secret = openSecret(wanted.token);
    const budget = budgetOf(url);
    let polled = 0;
    const no = deps.noProxy === undefined ? {} : { no: deps.noProxy };
    const target = createForgeTarget({
      key,
      url,
      scope,
      token: () => secret.read(),
      ...(caFile === undefined ? {} : { caFile }),
      ...(proxy === undefined ? {} : { proxy: { url: proxy, ...no } }),
      allowPersistentRegistration,
      active: () => deps.records.all().flatMap((runner) => (runner.target === key ? (runner.repository ?? []) : [])),
      log,
      clock: deps.clock,
      circuit: circuitOf(url, interval),
      onRequest: ({ operation, status }) => {
        if (POLLS.has(operation)) polled++;
        deps.onRequest({ target: key, operation, status: status === 0 ? "error" : String(status) });
      },
    });
    const watcher = watchForge({
      target,
      hostId: deps.hostId,
      labels: () => labelsAt(key, settings),
      known: openJobs(key),
      describeMode,
      interval,
      pace: (pause, isIdle) => {
        const isWell = watcher.view().health === "ok";
        // A forge in trouble is spared by its circuit; that a read was tried again must not delay the one that finds it well.
        const requests = isWell ? polled : Math.min(polled, COST_OF_FAILURE);
        polled = 0;
        return isIdle ? budget.book(pause, requests) : pause;
      },
      clock: deps.clock,
      log,
      wake: deps.wake,
      emit: (event) => deps.records.emit(event),
    });
    entries.set(key, { target, watcher, wanted, interval });
    watchers.set(key, watcher);
  };
  const openJobs = (key: string): Omit<Job, "since">[] => {
    const last = new Map(
      deps.store
        .pushedJobs()
        .filter(({ job }) => job.target === key)
        .map((pushed) => [pushed.job.id, pushed]),
    );
    return [...last.values()].flatMap(({ job, rank }) => (rank < RANK.completed ? [job] : []));
  };
  const drop = async (key: string) => {
    const entry = entries.get(key);
    entries.delete(key);
    watchers.delete(key);
    await entry?.watcher.stop();
    await entry?.target.close();
  };
  const dropUnneeded = () => {
    if (settings === undefined) return;
    const wanted = settings.targets.map(({ key }) => key);
    const needed = new Set([...wanted, ...deps.records.all().map((runner) => runner.target)]);
    for (const key of entries.keys()) if (!needed.has(key)) void drop(key);
  };
  const readFrozen = (url: string) => {
    for (const { watcher } of entries.values()) {
      const { health, lastGoodAt, url: at } = watcher.health();
      if (at === url && health !== "ok" && lastGoodAt !== undefined) watcher.poke();
    }
  };
  const unsubscribe = deps.records.subscribe((event) => {
    if (event.kind === "closed") dropUnneeded();
    // What one scope has found out is good news for the others.
    if (event.kind === "forge" && event.target.health === "ok") readFrozen(event.target.url);
  });

  return {
    target: (key) => {
      const entry = entries.get(key);
      if (entry === undefined) throw new Error(`the configuration names no forge ${key} any more`);
      return entry.target;
    },
    list: () => [...entries.values()].map(({ target }) => target),
    watchers: () => watchers,
    pushed: {
      known: deps.store.pushedJobs(),
      keep: ({ job, ...rest }) => deps.store.savePushedJob({ job: { ...job, at: deps.clock.now() }, ...rest }),
    },
    update: (next) => {
      settings = next;
      for (const wanted of next.targets) {
        const known = entries.get(wanted.key);
        if (known !== undefined && isDeepStrictEqual([known.wanted, known.interval], [wanted, next.pollInterval]))
          continue;
        if (known !== undefined) void drop(wanted.key);
        add(wanted, next.pollInterval);
      }
      dropUnneeded();
    },
    stop: async () => {
      unsubscribe();
      await Promise.all([...entries.keys()].map(drop));
    },
  };
}

function labelsAt(key: string, settings: Settings | undefined): string[] {
  const pools = settings?.pools.filter((pool) => pool.target === key) ?? [];
  return [...new Set(pools.flatMap((pool) => pool.labels))];
}
