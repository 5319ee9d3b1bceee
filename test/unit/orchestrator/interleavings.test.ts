import * as fc from "fast-check";
import { describe, it } from "vitest";
import type { PoolView } from "../../../src/core/plan-types.ts";
import type { Limits } from "../../../src/core/types.ts";
import { type Act, act, perform } from "../../support/model/acts.ts";
import type { ForgeKind } from "../../support/model/forge.ts";
import { comeToRest } from "../../support/model/rest.ts";
import { createModelWorld } from "../../support/model/world.ts";
import { limits, MINUTE, poolView, SECOND } from "../core/build.ts";

const short = limits({ job: 20 * MINUTE, lifetime: 60 * MINUTE, idle: 3 * MINUTE });
/** Every other guest reaches one of these just as its engine begins to ask for jobs. */
const hasty = { ...short, boot: 6 * SECOND, ready: SECOND };
const poolsAt = ({ listsQueue }: ForgeKind, times: Limits): PoolView[] => [
  poolView({ name: "a", labels: ["linux"], maxRunners: 3, minRunners: listsQueue ? 0 : 1, limits: times }),
  poolView({
    name: "b",
    order: 1,
    labels: ["linux", "big"],
    maxRunners: 2,
    minIdle: listsQueue ? 0 : 1,
    limits: times,
  }),
];
const kinds = fc.constantFrom(
  { bindsJobs: false, listsQueue: true },
  { bindsJobs: true, listsQueue: true },
  { bindsJobs: false, listsQueue: false },
);
const acts = fc.array(act, { maxLength: 40, size: "max" });
const RUNS = Number(process.env["MODEL_RUNS"] ?? 40);

describe("the orchestrator between a forge and a host that do what they like", () => {
  it("keeps its promises at every moment, and comes to rest when all is well", async () => {
    await fc.assert(
      fc.asyncProperty(kinds, fc.nat(), acts, (...world) => live(short, ...world)),
      { numRuns: RUNS, ...replay() },
    );
  }, 300_000);

  it("keeps them with limits that end engines which are about to take a job", async () => {
    await fc.assert(
      fc.asyncProperty(kinds, fc.nat(), acts, (...world) => live(hasty, ...world)),
      { numRuns: RUNS, ...replay() },
    );
  }, 300_000);
});

/** `MODEL_SEED` and `MODEL_PATH` run again what a failure printed. */
function replay(): { seed?: number; path?: string } {
  const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;
  return { ...(seed === undefined ? {} : { seed: Number(seed) }), ...(path === undefined ? {} : { path }) };
}

async function live(times: Limits, kind: ForgeKind, seed: number, acts: Act[]): Promise<void> {
  const pools = poolsAt(kind, times);
  const world = createModelWorld({ seed, kind, pools, capacity: { memoryMib: 4 * 512, vcpus: 100 } });
  try {
    await world.start();
    for (const each of acts) await perform(world, each);
    await world.calm();
    await comeToRest(world, kind.listsQueue ? 0 : 2);
  } finally {
    world.close();
  }
}
