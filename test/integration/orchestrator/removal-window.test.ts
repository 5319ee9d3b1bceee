import { describe, expect, it } from "vitest";
import type { Settings } from "../../../src/core/settings.ts";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World } from "../../support/world.ts";

const ROUNDS = 50;
const SOON = () => AbortSignal.timeout(30_000);

/** How the one runner that listens for jobs comes to be removed, in a round. */
interface Removal {
  what: string;
  /** What the service is told to strive for before a round, so that one listens. */
  keep: (world: World, round: number) => Settings;
  /** Begins the removal. */
  remove: (world: World, round: number) => void | Promise<void>;
  /** Makes up for it, so that a job that came too late is served. */
  afterwards?: (world: World, round: number) => void | Promise<void>;
}

const pool = (over: Record<string, unknown> = {}) => ({ ...FAKE_POOL, minRunners: 1, ...over });
const labelled = (labels: string[]) => pool({ runner: { name: "ft", labels } });

/** A runner above the minimum is idle for too long at once. */
function impatient(settings: Settings): Settings {
  return {
    ...settings,
    pools: settings.pools.map((each) => ({ ...each, limits: { ...each.limits, idle: 1 } })),
  };
}

const kept = (world: World) => impatient(world.settings({ pools: [pool()] }));

const REMOVALS: Removal[] = [
  {
    what: "the pool is scaled down",
    keep: kept,
    remove: (world) => world.composition.reload(impatient(world.settings({ pools: [FAKE_POOL] }))),
  },
  {
    what: "the pool is configured anew",
    keep: (world, round) => world.settings({ pools: [labelled(["linux", `before${round}`])] }),
    remove: (world, round) =>
      world.composition.reload(world.settings({ pools: [labelled(["linux", `after${round}`])] })),
  },
  {
    what: "the image of the pool is another",
    keep: (world, round) =>
      world.settings({ pools: [pool({ runner: { name: "ft", labels: ["linux"], image: `local:a${round}` } })] }),
    remove: (world, round) =>
      world.composition.reload(
        world.settings({ pools: [pool({ runner: { name: "ft", labels: ["linux"], image: `local:b${round}` } })] }),
      ),
  },
  {
    what: "the pool is paused and scaled down",
    keep: kept,
    remove: (world) => {
      world.orchestrator.pause("default");
      world.composition.reload(impatient(world.settings({ pools: [FAKE_POOL] })));
    },
    afterwards: (world) => world.orchestrator.resume("default"),
  },
  {
    what: "the service is drained",
    keep: kept,
    remove: async (world) => {
      await world.composition.stop("drain", 20_000);
    },
    afterwards: async (world) => {
      await world.stop();
      await world.start({ pools: [pool()] });
    },
  },
];

describe("a job that arrives in the moment in which its runner is removed", () => {
  it.each(REMOVALS)(`is never lost, in ${ROUNDS} tries: $what`, async ({ keep, remove, afterwards }) => {
    // A forge without a queue: registered runners wait for whatever comes.
    const world = await createWorld({
      forge: { version: "1.24.6" },
      pools: [pool()],
      script: { jobTime: 5, fetchInterval: 3 },
    });
    let taken = 0;
    for (let round = 0; round < ROUNDS; round++) {
      world.composition.reload(keep(world, round));
      const listening = () => world.runners().find(({ agent, removal }) => agent.phase === "listening" && !removal);
      await eventually("one listens", () => listening() !== undefined);
      const { name } = listening() ?? {};
      const pushed = world.push(many(1, ["linux"], `round${round}x`));
      // Somewhere between before and after the engine's next question.
      await new Promise((resolve) => setTimeout(resolve, (round % 10) * 0.7));
      const removed = remove(world, round);
      const run = await pushed;
      await removed;
      await afterwards?.(world, round);
      world.composition.reload(keep(world, round));
      await run.finished(SOON());
      if (attemptsOf(world.forge).at(-1)?.runner === name) taken++;
    }
    const attempts = attemptsOf(world.forge);
    expect(attempts).toHaveLength(ROUNDS);
    expect(attempts.filter(({ endedBy }) => endedBy !== "runner")).toEqual([]);
    expect(world.forge.jobs().filter(({ status }) => status !== "success")).toEqual([]);
    const interrupted = world.history().filter(({ agent, outcome }) => agent.phase === "busy" || outcome !== undefined);
    expect(interrupted).toEqual([]);
    // Control: jobs did arrive while their runner was there.
    expect(taken).toBeGreaterThan(0);
  });
});
