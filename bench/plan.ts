import { plan as makePlan } from "../src/core/plan.ts";
import type { PlanInput } from "../src/core/plan-types.ts";
import { busy, forge, input, job, poolView, ready, T, warm } from "../test/unit/core/build.ts";
import type { Bench, Figure } from "./harness.ts";

const POOLS = 20;

export const plan: Bench = {
  name: "plan",
  what: "processor time of one plan, for a host with so many runners and half as many queued jobs",
  run: ({ quick, progress }) => {
    const figures: Figure[] = [];
    for (const runners of [10, 100, 1_000, 5_000]) {
      progress(`${runners} runners`);
      const crowd = crowdOf(runners, runners / 2);
      const quiet = crowdOf(runners, 0);
      const samples = quick ? 10 : 100;
      figures.push(
        {
          name: `${runners} runners, ${runners / 2} queued jobs`,
          unit: "ms",
          samples: costs(crowd, samples),
          aims: [],
        },
        {
          name: `${runners} runners, nothing queued`,
          unit: "ms",
          samples: costs(quiet, samples),
          aims:
            runners === 1_000
              ? [{ statistic: "p50", under: 10, because: "our own: a plan must not hold up a webhook" }]
              : [],
        },
      );
    }
    return Promise.resolve({
      figures,
      notes: [
        `${POOLS} pools with one label in common; a third of the runners each warm, ready and busy; no runner or job is new, so this is what each wake-up costs.`,
        "Processor time of the process, the garbage collector included; ten plans before the first sample.",
      ],
    });
  },
};

function costs(given: PlanInput, samples: number): number[] {
  for (let round = 0; round < 10; round++) makePlan(given);
  return Array.from({ length: samples }, () => {
    const before = process.cpuUsage();
    makePlan(given);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

function crowdOf(runners: number, jobs: number): PlanInput {
  const pools = numbers(POOLS).map((id) =>
    poolView({ name: `p${id}`, order: id, labels: ["linux", `l${id}`], maxRunners: 500 }),
  );
  const kinds = [warm, ready, busy] as const;
  const everyone = numbers(runners).map((id) => {
    const { name, labels } = (pools[id % POOLS] ?? poolView()).pool;
    return (kinds[id % kinds.length] ?? warm)(id, { pool: name, labels });
  });
  const queue = numbers(jobs).map((id) =>
    job(id, { labels: id % 2 === 0 ? ["linux"] : ["linux", `l${(id % POOLS) + 1}`] }),
  );
  return input({ pools, runners: everyone, forges: { [T]: forge({ jobs: queue }) } });
}
