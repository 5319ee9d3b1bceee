import { expect, it } from "vitest";
import { soak } from "../support/model/soak.ts";

/** `SOAK_HOURS=72` for longer; `npm run soak` tells the figures. */
const HOURS = Number(process.env["SOAK_HOURS"] ?? 12);

it(`works for ${HOURS} hours of a fake clock with all kinds of trouble, in the memory and the store of the first`, async () => {
  const { jobs, kills, samples } = await soak({ hours: HOURS, seed: 2 });
  // Whoever ended a job that the forge still wanted, or left something behind, was told of by then.
  expect(jobs.finished + jobs.elsewhere + jobs.cancelled + jobs.lost).toBe(jobs.pushed);
  expect(jobs.finished).toBeGreaterThan(40 * HOURS);
  expect(jobs.lost).toBeLessThan(0.05 * jobs.pushed);
  expect(kills).toBeGreaterThan(HOURS / 2);
  const quarter = Math.ceil(samples.length / 4);
  const most = (of: typeof samples, key: "heapMib" | "storeKib") => Math.max(...of.map((sample) => sample[key]));
  expect(most(samples.slice(-quarter), "heapMib")).toBeLessThan(most(samples.slice(0, quarter), "heapMib") + 4);
  expect(most(samples, "storeKib")).toBeLessThan(2_048);
}, 600_000);
