import { expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { createWorld } from "../../support/world.ts";

const OWNERS = ["one", "two", "three", "four", "five"];
const POLL = 300;
/** What one scope asks in a second: its queue, and its rows with every sixth read. */
const OF_ONE = (1_000 / POLL) * (7 / 6);
const WINDOW = 4_000;

it("the scopes of one forge share what one of them asks, and one where something happens has it alone", async () => {
  const world = await createWorld({ idle: true, poll: POLL });
  for (const owner of OWNERS) {
    world.forge.addOrganization(owner, { owners: ["root"] });
    await world.forge.addRepository(`${owner}/app`, { files: {} });
  }
  const orgPools = OWNERS.map((owner) => ({
    ...FAKE_POOL,
    name: owner,
    runner: { labels: [owner] },
    forge: { scope: "org", owner },
  }));
  await world.start({ pools: [FAKE_POOL, ...orgPools] });
  await eventually("all scopes are read", () => world.orchestrator.targets().every((target) => target.health === "ok"));
  const asked = async (path: string) => {
    world.forge.requests.clear();
    const end = performance.now() + WINDOW;
    await eventually("the window is over", () => performance.now() >= end);
    return world.forge.requests.all().filter((request) => request.path.startsWith(path)).length / (WINDOW / 1_000);
  };
  expect(await asked("/")).toBeLessThan(1.5 * OF_ONE);

  const yaml = `on: push\njobs:\n  one:\n    runs-on: three\n    steps: [{ run: "true" }]\n`;
  const run = await world.forge.pushWorkflow({ repository: "three/app", yaml });
  expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ one: "success" });
  await world.cleared();
  expect(await asked("/api/v1/orgs/three/")).toBeGreaterThan(0.7 * OF_ONE);
});
