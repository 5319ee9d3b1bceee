import type { Cgroups } from "../microvm/cgroups.ts";
import type { SandboxPlaces } from "../microvm/places.ts";
import type { Launcher } from "../microvm/shim.ts";
import { createJailLaunch } from "./jail.ts";
import type { Launch } from "./launch.ts";
import { createDirectLaunch } from "./launch-direct.ts";

/** Starts each monitor as its pool wants it: in a jail, or as it is. Both leave the same things in the same places. */
export function createLaunch(deps: {
  /** Where jails are built. */
  base: string;
  /** Files from here are shown to jails. */
  sources: readonly string[];
  launcher: Launcher;
  cgroups: Cgroups;
  places(hex: string): SandboxPlaces;
}): Launch {
  const jail = createJailLaunch(deps);
  const direct = createDirectLaunch(deps);
  return {
    check: async (programs, signal) => {
      const jailed = programs.filter(({ jailer }) => jailer !== undefined);
      if (jailed.length === 0) return await direct.check(programs, signal);
      const way = await jail.check(jailed, signal);
      const some = way.ok && jailed.length < programs.length;
      return some ? { ...way, detail: `${way.detail}, some pools without jailer` } : way;
    },
    prepare: (plan, signal) => (plan.jailer === undefined ? direct : jail).prepare(plan, signal),
    sockets: direct.sockets,
    // Those of a pool that was changed since have to be found as well.
    list: jail.list,
    remove: jail.remove,
  };
}
