import { setTimeout as sleep } from "node:timers/promises";
import { startDaemon } from "./daemon.ts";
import { startForge } from "./forge.ts";
import { type Bench, type Figure, scratchDirectory, until } from "./harness.ts";

const OWNERS = ["one", "two", "three", "four", "five"];

export const forgeRequests: Bench = {
  name: "forge-requests",
  what: "requests to the forge while 200 runners are kept ready and nothing happens",
  run: async ({ quick, progress }) => {
    const [count, minutes] = quick ? [20, 0.5] : [200, 3];
    const figures: Figure[] = [];
    const notes: string[] = [];
    for (const scopes of ["one scope", "six scopes"] as const) {
      const { perMinute, routes } = await observe(count, minutes, scopes, progress);
      figures.push({
        name: `${count} ready in one pool, five more pools, ${scopes}`,
        unit: "/min",
        samples: [perMinute],
        aims: [{ statistic: "max", under: 60.5, because: "at most 60" }],
      });
      notes.push(`With ${scopes}, in ${minutes} minutes: ${routes}.`);
    }
    return {
      figures,
      notes: [
        "`bin/fireteact serve` with the default poll of 5 s; counted by the simulator (Gitea 1.25.1, which lists its queue, so that ready runners are warm and not registered) from the moment that all are up.",
        "'One scope': all six pools at the instance. 'Six scopes': each of the five further pools at an organisation of its own, which the forge has to be asked about one by one.",
        ...notes,
      ],
    };
  },
};

async function observe(
  count: number,
  minutes: number,
  scopes: "one scope" | "six scopes",
  progress: (line: string) => void,
): Promise<{ perMinute: number; routes: string }> {
  using directory = scratchDirectory();
  await using forge = await startForge();
  const pool = { driver: "fake", engine: "shell" };
  await using daemon = await startDaemon(directory.path, {
    gitea: { instanceURL: forge.url, apiToken: forge.token, runnerScope: "instance" },
    pools: [
      { ...pool, name: "ready", minRunners: count, maxRunners: count, runner: { labels: ["linux"] } },
      ...OWNERS.map((owner) => ({
        ...pool,
        name: owner,
        minRunners: 0,
        maxRunners: 10,
        runner: { labels: [`linux-${owner}`] },
        ...(scopes === "six scopes" ? { forge: { scope: "org", owner } } : {}),
      })),
    ],
  });
  await until(`${count} runners wait for jobs`, async () => (await daemon.idle()) === count, {
    timeout: 300_000,
    pause: 500,
  });
  await forge.forget();
  progress(`${scopes}: ${count} runners are there; counting for ${minutes} minutes`);
  const from = performance.now();
  await sleep(minutes * 60_000);
  const { total, counts } = await forge.requests();
  const perMinute = total / ((performance.now() - from) / 60_000);
  const routes = Object.entries(counts)
    .map(([route, times]) => `${times} ${route}`)
    .join(", ");
  return { perMinute, routes: routes === "" ? "none" : routes };
}
