import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { openSecret } from "../config/secret.ts";
import type { Settings, TargetSettings } from "../core/settings.ts";
import { createForgeTarget } from "../forge/create.ts";
import type { ForgeTarget } from "../forge/port.ts";
import { type ForgeWatcher, watchForge } from "../orchestrator/observe.ts";
import type { Records } from "../orchestrator/records.ts";
import type { ForgeRequest } from "../telemetry/metrics.ts";

/** The forge targets in use with their watchers, kept in step with the configuration. */
export interface Targets {
  target(key: string): ForgeTarget;
  list(): ForgeTarget[];
  watchers(): Map<string, ForgeWatcher>;
  /** Adds what is new; drops what neither the settings nor a runner needs. */
  update(settings: Settings): void;
  stop(): Promise<void>;
}

export function createTargets(deps: {
  hostId: string;
  clock: Clock;
  log: Logger;
  records: Records;
  wake: () => void;
  onRequest: (request: ForgeRequest) => void;
}): Targets {
  const targets = new Map<string, ForgeTarget>();
  const watchers = new Map<string, ForgeWatcher>();
  let settings: Settings | undefined;

  const add = (wanted: TargetSettings, interval: number) => {
    const log = deps.log.child({ target: wanted.key });
    const secret = openSecret(wanted.token);
    const target = createForgeTarget({
      key: wanted.key,
      url: wanted.url,
      scope: wanted.scope,
      token: () => secret.read(),
      ...(wanted.caFile === undefined ? {} : { caFile: wanted.caFile }),
      ...(wanted.proxy === undefined ? {} : { proxy: { url: wanted.proxy } }),
      allowPersistentRegistration: wanted.allowPersistentRegistration,
      log,
      clock: deps.clock,
      onRequest: ({ operation, status }) =>
        deps.onRequest({ target: wanted.key, operation, status: status === 0 ? "error" : String(status) }),
    });
    targets.set(wanted.key, target);
    watchers.set(
      wanted.key,
      watchForge({
        target,
        hostId: deps.hostId,
        labels: () => labelsAt(wanted.key, settings),
        interval,
        clock: deps.clock,
        log,
        wake: deps.wake,
        emit: (event) => deps.records.emit(event),
      }),
    );
  };
  const drop = async (key: string) => {
    const [watcher, target] = [watchers.get(key), targets.get(key)];
    watchers.delete(key);
    targets.delete(key);
    await watcher?.stop();
    await target?.close();
  };

  return {
    target: (key) => {
      const target = targets.get(key);
      if (target === undefined) throw new Error(`the configuration names no forge ${key} any more`);
      return target;
    },
    list: () => [...targets.values()],
    watchers: () => watchers,
    update: (next) => {
      settings = next;
      const wanted = new Set(next.targets.map(({ key }) => key));
      for (const each of next.targets) if (!targets.has(each.key)) add(each, next.pollInterval);
      const needed = new Set(deps.records.all().map((runner) => runner.target));
      for (const key of targets.keys()) if (!wanted.has(key) && !needed.has(key)) void drop(key);
    },
    stop: async () => {
      await Promise.all([...targets.keys()].map(drop));
    },
  };
}

function labelsAt(key: string, settings: Settings | undefined): string[] {
  const pools = settings?.pools.filter((pool) => pool.target === key) ?? [];
  return [...new Set(pools.flatMap((pool) => pool.labels))];
}
