import { expect, it } from "vitest";
import { plan } from "../../../src/core/plan.ts";
import { busy, forge, input, job, poolView, ready, T, warm } from "./build.ts";

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

function crowd(runners: number, jobs: number) {
  const pools = numbers(20).map((id) =>
    poolView({ name: `p${id}`, order: id, labels: ["linux", `l${id}`], maxRunners: 500, minIdle: 2 }),
  );
  const kinds = [warm, ready, busy];
  const everyone = numbers(runners).map((id) => {
    const { name, labels } = pools[id % 20]!.pool;
    return kinds[id % 3]!(id, { pool: name, labels });
  });
  const queue = numbers(jobs).map((id) =>
    job(id, { labels: id % 2 === 0 ? ["linux"] : ["linux", `l${(id % 20) + 1}`] }),
  );
  return input({ pools, runners: everyone, forges: { [T]: forge({ jobs: queue }) } });
}

/** Processor time of a plan, milliseconds: what else the machine does is not counted. */
function cost(runners: number, jobs: number): number {
  const given = crowd(runners, jobs);
  for (const _ of numbers(5)) plan(given);
  const before = process.cpuUsage();
  for (const _ of numbers(15)) plan(given);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / 15;
}

it("plans 1,000 runners and 500 jobs in a few milliseconds", () => {
  expect(cost(1_000, 500)).toBeLessThan(60);
});

it("costs in proportion, not more", () => {
  const small = cost(500, 250);
  expect(cost(4_000, 2_000)).toBeLessThan(Math.max(small, 0.5) * 8 * 4);
});

it("answers the same question the same way, and changes nothing it was given", () => {
  const given = crowd(60, 30);
  const copy = structuredClone({ ...given, freshHex: undefined });
  const first = plan({ ...given, freshHex: () => "f".repeat(24) });
  expect(plan({ ...given, freshHex: () => "f".repeat(24) })).toEqual(first);
  expect(structuredClone({ ...given, freshHex: undefined })).toEqual(copy);
});
