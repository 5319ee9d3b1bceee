import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Settings } from "../core/settings.ts";
import { loadServable } from "./servable.ts";

/** What the program is told from outside while it runs. */
export interface Signals {
  /** Ends the program as after a signal, once the jobs that run have ended. */
  drain(): void;
  /** Aborted by a signal that comes while a drain goes on that nobody began by signal. */
  readonly interrupted: AbortSignal;
  /** Resolves when the program has to end; `reload` is given new settings meanwhile. */
  stop(reload: (settings: Settings) => void): Promise<{ how: Settings["shutdown"]; drainTimeout: number }>;
  close(): void;
}

/** Parts of the configuration that are read at start only. */
const FIXED = ["server", "webhook", "network", "containerd", "cni"] as const;

/** SIGTERM and SIGINT stop as `shutdown` says, a second one at once; SIGHUP reads the configuration again. */
export function listenToSignals(configFile: string, settings: Settings, log: Logger): Signals {
  const stopped = Promise.withResolvers<Settings["shutdown"]>();
  let current = settings;
  let apply: ((settings: Settings) => void) | undefined;
  const interrupt = new AbortController();
  let draining = false;
  let told = 0;

  const onStop = (signal: NodeJS.Signals) => {
    told++;
    if (told > 1) {
      log.warn({ signal }, "told twice: stopping at once");
      process.exit(1);
    }
    log.info({ signal, shutdown: current.shutdown }, "stopping");
    if (draining && current.shutdown !== "drain") interrupt.abort();
    stopped.resolve(current.shutdown);
  };
  const onReload = () => {
    try {
      const next = loadServable(configFile);
      for (const warning of next.warnings) log.warn({ ...warning }, "configuration");
      for (const part of FIXED) {
        if (JSON.stringify(next.settings[part]) === JSON.stringify(settings[part])) continue;
        log.warn({ key: part }, "this part of the configuration takes effect at the next restart");
      }
      apply?.(next.settings);
      current = next.settings;
      log.info({ pools: current.pools.map((pool) => pool.name) }, "configuration read again");
    } catch (error) {
      log.error({ cause: describe(error) }, "the configuration could not be read again; the old one stays in force");
    }
  };
  process.on("SIGTERM", onStop);
  process.on("SIGINT", onStop);
  process.on("SIGHUP", onReload);

  return {
    drain: () => {
      draining = told === 0;
      stopped.resolve("drain");
    },
    interrupted: interrupt.signal,
    stop: async (reload) => {
      apply = reload;
      // One that came while everything was being built.
      if (current !== settings) reload(current);
      const how = await stopped.promise;
      return { how, drainTimeout: current.drainTimeout };
    },
    close: () => {
      process.off("SIGTERM", onStop);
      process.off("SIGINT", onStop);
      process.off("SIGHUP", onReload);
    },
  };
}
