import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { PoolView } from "../../../src/core/plan-types.ts";
import { limits, MINUTE, poolView } from "../../unit/core/build.ts";
import { chanceAct, perform } from "./acts.ts";
import { comeToRest } from "./rest.ts";
import { createModelWorld } from "./world.ts";

export interface SoakSample {
  /** Hours of the fake clock. */
  hour: number;
  /** After a collection of garbage, mebibytes. */
  heapMib: number;
  storeKib: number;
  finished: number;
}

export interface SoakFigures {
  hours: number;
  jobs: { pushed: number; finished: number; elsewhere: number; cancelled: number; lost: number };
  sandboxes: number;
  kills: number;
  restarts: number;
  storesLost: number;
  samples: SoakSample[];
}

const HOUR = 60 * MINUTE;
const times = limits({ job: 20 * MINUTE, lifetime: 60 * MINUTE, idle: 3 * MINUTE });
const pools: PoolView[] = [
  poolView({ name: "a", labels: ["linux"], maxRunners: 8, limits: times }),
  poolView({ name: "b", order: 1, labels: ["linux", "big"], maxRunners: 4, limits: times }),
];
/** Small, so that it is reached soon. */
const HISTORY = { runners: 200, days: 1 };
/** Milliseconds from one job to the next, and from one trouble to the next, on average. */
const JOB_EVERY = 45_000;
const TROUBLE_EVERY = 4 * MINUTE;
/** Of each step between two jobs. */
const TROUBLE = JOB_EVERY / TROUBLE_EVERY;
const HEALING = 0.3;

/**
 * Hours of load and trouble on a clock that does not wait: jobs in a stream, and with them everything that can go wrong.
 * Throws when a promise is broken, and when the end is not nothing left.
 */
export async function soak(options: {
  hours: number;
  seed: number;
  progress?: (sample: SoakSample) => void;
}): Promise<SoakFigures> {
  const { hours, seed } = options;
  const world = createModelWorld({
    seed,
    kind: { bindsJobs: seed % 2 === 0, listsQueue: true },
    pools,
    capacity: { memoryMib: 10 * 512, vcpus: 100 },
    history: HISTORY,
  });
  const { random, forge, clock, counts } = world;
  const began = clock.uptime();
  const samples: SoakSample[] = [];
  const sample = () => {
    const hour = Math.round((clock.uptime() - began) / HOUR);
    const heapMib = heap() / 2 ** 20;
    const taken = { hour, heapMib, storeKib: Math.ceil(world.storeBytes() / 1024), finished: forge.counts.finished };
    samples.push(taken);
    options.progress?.(taken);
  };
  try {
    await world.start();
    let sampled = 0;
    while (clock.uptime() - began < hours * HOUR) {
      forge.push(random.happens(0.2) ? ["linux", "big"] : ["linux"], random.between(2_000, 3 * MINUTE));
      const wait = random.between(0, 2 * JOB_EVERY);
      if (random.happens(HEALING)) world.heal();
      if (random.happens(TROUBLE)) {
        await perform(world, { do: chanceAct(world), n: Math.floor(random.between(0, 256)), wait });
      } else await world.pass(wait);
      // What a service manager does.
      if (world.process() === undefined) {
        await world.pass(random.between(100, MINUTE));
        await world.start();
      }
      if (Math.floor((clock.uptime() - began) / HOUR) > sampled) {
        sampled++;
        sample();
      }
    }
    await world.calm();
    await comeToRest(world, 0);
    const { registered: _, ...jobs } = forge.counts;
    return { hours, jobs, sandboxes: world.host.created(), ...counts, samples };
  } finally {
    world.close();
  }
}

/** Bytes in use once what is garbage is gone. */
function heap(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}
