import type { Clock } from "../../base/clock.ts";
import type { SandboxDriver } from "../port.ts";
import type { SandboxPlaces } from "./places.ts";
import { watchExit } from "./watch.ts";

/** The watches of one driver, which end with it. */
export interface Watches {
  watch: SandboxDriver["watch"];
  stop(): void;
}

export function createWatches(places: (hex: string) => SandboxPlaces, clock: Clock): Watches {
  const running = new Set<() => void>();
  return {
    watch: (hex, onExit) => {
      const stop = watchExit(places(hex).directory, clock, (exit) => {
        running.delete(stop);
        onExit(exit);
      });
      running.add(stop);
      return () => {
        running.delete(stop);
        stop();
      };
    },
    stop: () => {
      for (const stop of running) stop();
      running.clear();
    },
  };
}
