import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { createWorld } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);

describe("limits end what does not come to an end", () => {
  it.each([
    { limit: "boot", reason: "boot-timeout", script: { bootTime: Infinity } },
    { limit: "ready", reason: "ready-timeout", script: { neverListens: true } },
    { limit: "job", reason: "job-timeout", script: { jobTime: Infinity } },
  ])("$limit", async ({ limit, reason, script }) => {
    const world = await createWorld({ script, extra: { limits: { [limit]: "1s" } } });
    await world.push({ one: ["linux"] });
    // An agent whose engine is late is asked first, and has ten seconds for its answer.
    await eventually("one was ended", () => world.history().length > 0, 30_000);
    const [runner] = world.history();
    expect(runner?.ending?.reason).toBe(reason);
    expect(runner?.ending?.detail).toContain("within 1 s");
    expect(world.forge.runners("existing").some(({ name }) => name === runner?.name)).toBe(false);
  });

  it("idle, by asking first", async () => {
    const world = await createWorld({
      forge: { version: "1.24.6" },
      pools: [{ ...FAKE_POOL, minRunners: 1 }],
      extra: { limits: { idle: "1s" } },
    });
    await eventually("one listens", () => world.runners()[0]?.agent.phase === "listening");
    world.composition.reload(world.settings({ pools: [FAKE_POOL] }));
    await world.cleared();
    expect(world.history()[0]?.ending?.reason).toBe("idle-timeout");
    expect(world.history()[0]?.agent.phase).toBe("drained");
  });
});

describe("runners that cannot be made", () => {
  it("back off, hold no capacity, and are tried again one at a time", async () => {
    let broken = true;
    const world = await createWorld({
      pools: [{ ...FAKE_POOL, maxRunners: 3 }],
      script: { failCreate: () => broken },
    });
    const run = await world.push({ one: ["linux"], two: ["linux"], three: ["linux"] });
    await eventually("the pool waits", () => world.orchestrator.reasons()[0]?.code === "backing-off");
    await world.cleared();
    // One burst, and nothing while the pool waits.
    expect(world.scripted.created).toHaveLength(3);
    expect(world.orchestrator.reasons()[0]?.detail).toContain("the script says so");
    broken = false;
    expect(await run.finished(ENOUGH())).toEqual({ one: "success", two: "success", three: "success" });
    await world.cleared();
    expect(world.orchestrator.memory().pools).toEqual({});
  });
});
