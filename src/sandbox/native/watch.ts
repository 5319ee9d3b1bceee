import { type Clock, inStep, type Timer } from "../../base/clock.ts";
import type { SandboxExit } from "../../core/types.ts";
import type { ServiceManager } from "./systemd.ts";

/** Milliseconds between two looks at the units; one question answers for all of them. */
const POLL = 1_000;

/**
 * Tells of the end of units. The service manager tells an unprivileged program of changes only over a connection that
 * this one would have to keep, so it is asked: by one short program a second while there is anything to watch.
 */
export function createUnitWatch(deps: {
  manager: Pick<ServiceManager, "units">;
  clock: Clock;
  exitOf: (hex: string) => SandboxExit;
}) {
  const { manager, clock } = deps;
  const watched = new Map<string, Set<(exit: SandboxExit) => void>>();
  let timer: Timer | undefined;
  let closed = false;

  const look = async () => {
    // Only what was watched before the question: a unit that is started meanwhile is not in the answer.
    const asked = [...watched.keys()];
    const units = await manager.units().catch(() => undefined);
    if (units !== undefined) {
      const active = new Set(units.filter(({ isActive }) => isActive).map(({ hex }) => hex));
      for (const hex of asked.filter((each) => !active.has(each))) tell(hex);
    }
    timer = undefined;
    next();
  };
  const tell = (hex: string) => {
    const listeners = [...(watched.get(hex) ?? [])];
    watched.delete(hex);
    if (listeners.length === 0) return;
    const exit = deps.exitOf(hex);
    for (const listener of listeners) listener(exit);
  };
  const next = () => {
    if (closed || timer !== undefined || watched.size === 0) return;
    timer = clock.after(inStep(clock, POLL), () => void look());
  };

  return {
    watch: (hex: string, onExit: (exit: SandboxExit) => void) => {
      const listeners = watched.get(hex) ?? new Set();
      watched.set(hex, listeners.add(onExit));
      next();
      return () => {
        listeners.delete(onExit);
        if (listeners.size === 0 && watched.get(hex) === listeners) watched.delete(hex);
      };
    },
    close: () => {
      closed = true;
      timer?.cancel();
      watched.clear();
    },
  };
}
