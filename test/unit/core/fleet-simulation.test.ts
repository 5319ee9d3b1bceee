import { describe, expect, it } from "vitest";
import type { Fleet } from "../../../src/core/fleet.ts";
import { poolView } from "./build.ts";
import { drawFrom } from "./event-queue.ts";
import { type FleetOptions, type FleetResult, simulateFleet } from "./fleet-model.ts";

/** Twenty hosts with four places each, all up or some of them down, against one forge. `FLEET_SEED` replays a run, `FLEET_JOBS` makes it longer. */
const HOSTS = 20;
const PLACES = 4;
const JOBS = Number(process.env["FLEET_JOBS"] ?? 80);
const SEED = Number(process.env["FLEET_SEED"] ?? Date.now() % 1_000_000);
const NAMES = Array.from({ length: HOSTS }, (_, index) => `ci-${index}`);

interface Case {
  what: string;
  /** Mean time between jobs, milliseconds. */
  gap: number;
  /** Jobs that come at once. */
  burst?: number;
  bindsJobs?: boolean;
  webhooks?: boolean;
  boot?: FleetOptions["boot"];
  down?: number;
}

const CASES: Case[] = [
  { what: "half full", gap: 1_500 },
  { what: "half full, bound to jobs", gap: 1_500, bindsJobs: true },
  { what: "woken by webhooks", gap: 1_500, webhooks: true },
  { what: "slow boots, bound to jobs", gap: 1_500, boot: [5_000, 15_000], bindsJobs: true },
  { what: "more jobs than places", gap: 600, bindsJobs: true },
  { what: "bursts of forty", gap: 1_500, burst: 40 },
  { what: "half of the hosts down", gap: 3_000, down: 10, bindsJobs: true },
];

const named = (down = 0): Fleet[] => NAMES.slice(down).map((self) => ({ self, hosts: NAMES }));
const numbered = (down = 0): Fleet[] => NAMES.slice(down).map((self) => ({ self, hosts: HOSTS }));
const strangers = (): Fleet[] => NAMES.map((self) => ({ self, hosts: 1 }));

function simulate(fleets: Fleet[], given: Case): FleetResult {
  const draw = drawFrom(SEED);
  const exponential = (mean: number): number => -Math.log(1 - draw()) * mean;
  const burst = given.burst ?? 1;
  let at = 10_000;
  const arrivals = Array.from({ length: JOBS }, (_, index) => {
    if (index % burst === 0) at += exponential(given.gap * burst);
    return at;
  });
  const perHost = fleets.length === 1 ? PLACES * HOSTS : PLACES;
  return simulateFleet({
    seed: SEED,
    fleets,
    pool: poolView({ maxRunners: perHost }),
    arrivals,
    lengths: () => 10_000 + exponential(50_000),
    bindsJobs: given.bindsJobs ?? false,
    webhooks: given.webhooks ?? false,
    boot: given.boot ?? [800, 4_000],
  });
}

const mean = ({ waits }: FleetResult): number => waits.reduce((sum, wait) => sum + wait, 0) / waits.length / 1_000;
const ratio = ({ created, jobs }: FleetResult): number => created / jobs;

function report(what: string, hosts: string, result: FleetResult): void {
  const late = (result.waits[Math.floor(result.waits.length * 0.95)] ?? 0) / 1_000;
  const text = `${ratio(result).toFixed(3)} runners a job, ${mean(result).toFixed(1)} s to the pick, 95 % ${late.toFixed(1)} s`;
  console.log(`fleet seed ${SEED}: ${what.padEnd(26)} ${hosts.padEnd(12)} ${text}`);
}

describe(`${HOSTS} hosts at one forge`, () => {
  it.each(CASES)(
    "make hardly more runners than there are jobs: $what",
    (given) => {
      const one = simulate([{ self: "alone", hosts: 1 }], given);
      report(given.what, "one host", one);
      const names = simulate(named(given.down), given);
      report(given.what, "names", names);
      const number = simulate(numbered(given.down), given);
      report(given.what, "a number", number);
      expect(ratio(names)).toBeLessThanOrEqual(1.1);
      // Without names two hosts may draw nearly the same place.
      expect(ratio(number)).toBeLessThanOrEqual(1.2);
      expect(names.waits).toHaveLength(JOBS);
      if (given.down === undefined) expect(mean(names)).toBeLessThan(mean(one) + 15);
    },
    120_000,
  );

  it("would make many for each where they do not know of each other", () => {
    const given: Case = { what: "not a fleet", gap: 1_500, bindsJobs: true };
    const result = simulate(strangers(), given);
    report(given.what, "strangers", result);
    expect(ratio(result)).toBeGreaterThan(3);
  }, 120_000);
});
