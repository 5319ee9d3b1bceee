import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { createWorld, type World } from "../../support/world.ts";

const warnings = (world: World, pattern: RegExp) =>
  world.lines.filter(({ level, msg }) => level === "warn" && pattern.test(msg)).map(({ msg }) => msg);

describe("a forge that can do less", () => {
  it("that cannot delete runners: they end here all the same, and it is told once that their rows stay", async () => {
    const world = await createWorld({ forge: { version: "1.23.8" }, idle: true });
    const gitea = {
      instanceURL: world.forge.url,
      apiToken: world.token,
      runnerScope: "instance",
      allowPersistentRegistration: true,
    };
    // Without the queue only minRunners make any: they are registered for demand that a webhook tells.
    await world.start({ pools: [{ ...FAKE_POOL, minIdle: 2 }], extra: { gitea } });
    await eventually(
      "two listen",
      () => world.runners().filter(({ agent }) => agent.phase === "listening").length === 2,
    );
    for (const { id } of world.runners()) world.orchestrator.stopRunner(id, true);
    await eventually("their records are closed", () => world.history().length >= 2);
    expect(world.forge.runners("existing").length).toBeGreaterThanOrEqual(2);
    expect(warnings(world, /row/)).toEqual([
      "the runner's row stays in the forge, as will those of others; remove what is offline there by hand",
    ]);
  });

  it("that does not show its runners to the token: jobs are served", async () => {
    const world = await createWorld();
    const list = /^GET \/api\/v1\/admin\/actions\/runners(\?|$)/;
    world.forge.faults.add({ match: list, fault: { kind: "status", status: 403 } });
    const run = await world.push({ one: ["linux"] });
    expect(await run.finished(AbortSignal.timeout(30_000))).toEqual({ one: "success" });
    await world.cleared();
    expect(world.orchestrator.targets()[0]?.health).toBe("ok");
    expect(world.history()).toMatchObject([{ ending: { reason: "finished" } }]);
  });
});
