import type { ModelWorld } from "./world.ts";

const MINUTE = 60_000;
/** Nothing that no record knows is left for longer than these minutes; and after those nothing but the minimum. */
const ORPHANS_GONE = 4;
const REST = 90;

/** Waits until only `least` runners are left, all of them waiting for work. Throws when that does not come. */
export async function comeToRest(world: ModelWorld, least: number): Promise<void> {
  const seen = new Map<string, number>();
  for (let minutes = 0; !isAtRest(world, least); minutes++) {
    const orphans = new Set(world.orphans());
    for (const orphan of seen.keys()) if (!orphans.has(orphan)) seen.delete(orphan);
    for (const orphan of orphans) {
      const since = seen.get(orphan) ?? minutes;
      seen.set(orphan, since);
      if (minutes - since > ORPHANS_GONE) throw new Error(`${orphan} stays: ${described(world)}`);
    }
    if (minutes > REST) throw new Error(`it does not come to rest: ${described(world)}`);
    await world.pass(MINUTE);
  }
}

function isAtRest({ process, forge, host }: ModelWorld, least: number): boolean {
  const runners = process()?.records.all() ?? [];
  return (
    forge.jobs.size === 0 &&
    runners.length === least &&
    runners.every(({ ending, agent }) => ending === undefined && agent.phase === "listening") &&
    host.sandboxes.size === least &&
    forge.rows.size === least
  );
}

function described({ forge, host, process }: ModelWorld): string {
  const running = process();
  return JSON.stringify({
    jobs: [...forge.jobs.values()],
    rows: [...forge.rows.values()],
    sandboxes: [...host.sandboxes.values()].map(({ spec, state }) => ({ hex: spec.hex, state })),
    runners: running?.records.all(),
    memory: running?.loop.memory(),
  });
}
