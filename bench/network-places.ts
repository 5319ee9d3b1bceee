import { systemClock } from "../src/base/clock.ts";
import { silentLogger } from "../src/base/log.ts";
import { DEFAULT_EGRESS } from "../src/core/settings.ts";
import { createEmbeddedNetwork } from "../src/network/embedded/network.ts";
import type { Bench } from "./harness.ts";
import { scratchDirectory } from "./harness.ts";

const HOST_ID = "0be0c4";
/** Guests that come one after another, and as many at once; half of them under each of two policies. */
const GUESTS = 50;
const POLICIES = { usual: DEFAULT_EGRESS, closed: { ...DEFAULT_EGRESS, reach: "allow-list" as const } };
/** A place is looked at before it is handed out where the last look is older; a daemon looks all the time. */
const FRESH = 600_000;

export const networkPlaces: Bench = {
  name: "network-places",
  what: "guests' networks out of the embedded network's pool, each under its pool's egress policy, and back",
  run: async ({ quick, progress }) => {
    const count = quick ? 4 : GUESTS;
    using directory = scratchDirectory();
    const places = { state: `${directory.path}/state`, run: `${directory.path}/run` };
    const options = { hostId: HOST_ID, places, log: silentLogger, clock: systemClock, nameservers: ["192.0.2.1"] };
    const network = createEmbeddedNetwork({ ...options, ahead: count, freshFor: FRESH, watchEvery: 0 });
    const never = new AbortController().signal;
    const guests: string[] = [];
    const attach = async (index: number): Promise<number> => {
      const hex = `${HOST_ID}${(guests.length + 1).toString(16).padStart(18, "0")}`;
      guests.push(hex);
      const start = performance.now();
      await network.attach(hex, index % 2 === 0 ? "usual" : "closed", never);
      return performance.now() - start;
    };
    try {
      await network.allow({ allow: [], pools: POLICIES });
      progress(`making ${2 * count} places`);
      await network.prepare(never);
      progress("handing them out");
      const oneByOne: number[] = [];
      for (let index = 0; index < count; index++) oneByOne.push(await attach(index));
      const start = performance.now();
      await Promise.all(Array.from({ length: count }, (_, index) => attach(index)));
      const all = performance.now() - start;
      const back: number[] = [];
      for (const hex of guests) {
        const begun = performance.now();
        await network.release(hex);
        back.push(performance.now() - begun);
      }
      return {
        figures: [
          { name: "hand-out", unit: "ms", samples: oneByOne, aims: [{ statistic: "p50", under: 1 }] },
          { name: `hand-out of ${count} at once, all of them`, unit: "ms", samples: [all], aims: [] },
          { name: "return, while places are made again", unit: "ms", samples: back, aims: [] },
        ],
        notes: [`${2 * count} places were made ahead, half of them for each of two policies.`],
      };
    } finally {
      await Promise.all(guests.map((hex) => network.release(hex)));
      await network.close({ remove: true });
    }
  },
};
