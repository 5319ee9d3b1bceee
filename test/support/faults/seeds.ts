import type { FaultRule } from "../../../src/forge-simulator/faults.ts";
import type { Host } from "../host.ts";
import type { Course } from "./course.ts";
import type { Kill } from "./orders.ts";
import { ALL_POINTS } from "./points.ts";
import { ALL_SCENARIOS, SCENARIOS, type Scenario } from "./scenarios.ts";

/** What can be wrong with a forge for a while, where the daemon or an agent talks to it. */
const TROUBLES: readonly FaultRule[] = [
  { match: "POST /api/actions/runner.v1.RunnerService/Register", fault: { kind: "drop-reply" }, times: 1 },
  { match: "POST /api/actions/runner.v1.RunnerService/Register", fault: { kind: "status", status: 503 }, times: 2 },
  { match: "POST /api/actions/runner.v1.RunnerService/Declare", fault: { kind: "reset" }, times: 2 },
  { match: "POST /api/actions/runner.v1.RunnerService/UpdateTask", fault: { kind: "drop-reply" }, times: 2 },
  { match: "POST /api/actions/runner.v1.RunnerService/UpdateLog", fault: { kind: "status", status: 502 }, times: 2 },
  { match: "DELETE /api/v1/", fault: { kind: "drop-reply" }, times: 2 },
  { match: "DELETE /api/v1/", fault: { kind: "status", status: 500 }, times: 2 },
  { match: "GET /api/v1/", fault: { kind: "status", status: 503 }, times: 5 },
  { match: "GET /api/v1/", fault: { kind: "html" }, times: 3 },
  { match: "GET /api/v1/", fault: { kind: "bad-json" }, times: 3 },
  { match: "GET /api/v1/", fault: { kind: "truncate" }, times: 3 },
  { match: "GET /api/v1/", fault: { kind: "rate-limit", retryAfterSeconds: 1 }, times: 2 },
  { match: /^/, fault: { kind: "slow", milliseconds: 700 }, times: 12 },
];

/** About as many points as a daemon passes while a scenario lasts. */
const PASSES = 40;

/** A course of events, the same for the same seed: scenario, more jobs, deaths, losses of the store, trouble with the forge. */
export function courseOf(seed: number): Omit<Course, "program"> & { title: string } {
  const random = randomOf(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const upTo = (most: number): number => 1 + Math.floor(random() * most);
  const first = random() < 0.5 ? pick(ALL_POINTS) : undefined;
  const scenario = first === undefined ? pick(ALL_SCENARIOS) : SCENARIOS[first.step];
  const jobs = upTo(5);
  const troubles = random() < 0.5 ? [] : Array.from({ length: upTo(3) }, () => pick(TROUBLES));
  const kills = Array.from({ length: upTo(3) }, (_, index): Kill & { storeLost: boolean } => ({
    ...(index === 0 && first !== undefined ? { ...first, hit: 1 } : { hit: upTo(PASSES) }),
    storeLost: random() < 0.25 && scenario.needsStore !== true,
  }));
  return {
    title: [
      scenario.title,
      `${jobs} jobs more`,
      ...kills.map(describeKill),
      ...troubles.map(({ match, fault }) => `${fault.kind} at ${String(match)}`),
    ].join("; "),
    scenario: withJobs(scenario, jobs),
    kills,
    trouble: ({ forge }: Host) => {
      for (const rule of troubles) forge.faults.add(rule);
    },
  };
}

const describeKill = ({ step, point, hit, storeLost }: Kill & { storeLost: boolean }): string =>
  `killed ${step === undefined ? `at point ${hit}` : `at ${step} ${point} (${hit})`}${storeLost ? ", store lost" : ""}`;

function withJobs(scenario: Scenario, count: number): Scenario {
  const jobs = Object.fromEntries(Array.from({ length: count }, (_, index) => [`more${index}`, 0.1]));
  return {
    ...scenario,
    provoke: async (act) => {
      await act.push(jobs);
      await scenario.provoke(act);
    },
  };
}

/** Numbers from 0 to 1 that follow from the seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
