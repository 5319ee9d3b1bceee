import type { Orchestrator } from "../orchestrator/port.ts";

export interface Health {
  /** `degraded`: something stands still although the program works. */
  status: "healthy" | "degraded" | "unhealthy";
  problems: string[];
  forges: ReturnType<Orchestrator["targets"]>;
  pools: { name: string; usable: boolean; detail?: string; backingOff?: string }[];
}

/** Health from what the orchestrator knows; asks nobody. */
export function healthOf(orchestrator: Orchestrator): Health {
  const forges = orchestrator.targets();
  const backoffs = orchestrator.memory().pools;
  const pools = orchestrator.pools().map(({ pool, usable, detail }) => {
    const failing = backoffs[pool.name];
    return {
      name: pool.name,
      usable,
      ...(detail === undefined ? {} : { detail }),
      ...(failing === undefined || failing.failures === 0
        ? {}
        : { backingOff: `${failing.failures} failures, last: ${failing.error}` }),
    };
  });
  const problems = [
    ...(orchestrator.started() ? [] : ["the first plan has not run yet"]),
    ...forges
      .filter(({ health }) => health === "frozen")
      .map(({ key, reason }) => `forge ${key}: ${reason ?? "no answer"}`),
    ...pools.filter(({ usable }) => !usable).map(({ name, detail }) => `pool ${name}: ${detail ?? "cannot be served"}`),
    ...pools.flatMap(({ name, backingOff }) =>
      backingOff === undefined ? [] : [`pool ${name} backs off: ${backingOff}`],
    ),
  ];
  const status = !orchestrator.started() ? "unhealthy" : problems.length > 0 ? "degraded" : "healthy";
  return { status, problems, forges, pools };
}
