import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);
const busy = (world: World) => world.runners().filter((runner) => runner.agent.phase === "busy");
const warm = (world: World) => world.runners().filter((runner) => runner.agent.phase === "up");
const kept = { ...FAKE_POOL, minIdle: 1 };

describe("a configuration that is read again", () => {
  it("replaces idle runners of a pool that changed, and touches no job that runs", async () => {
    const world = await createWorld({ pools: [kept], script: { jobTime: 800 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("one runs and one is warm", () => busy(world).length === 1 && warm(world).length === 1);
    const [working] = busy(world);
    const [idle] = warm(world);
    const changed = { ...kept, runner: { name: "ft", labels: ["linux", "more"] } };
    world.composition.reload(world.settings({ pools: [changed] }));
    await eventually("the warm one is another", () => warm(world).some((runner) => runner.labels.includes("more")));
    await eventually("it is gone", () => world.runners().every(({ id }) => id !== idle?.id));
    expect(busy(world).map(({ id }) => id)).toEqual([working?.id]);
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    const other = await world.push({ two: ["more"] });
    expect(await other.finished(ENOUGH())).toEqual({ two: "success" });
    expect(world.history().find(({ id }) => id === idle?.id)?.ending?.reason).toBe("outdated");
  });

  it.each<[what: string, change: Record<string, unknown>]>([
    ["labels", { runner: { name: "ft", labels: ["linux", "more"] } }],
    ["another limit of the engine", { limits: { engine: "1h" } }],
  ])("with %s replaces idle runners as new ones become ready, beside a job that runs", async (_, change) => {
    const pool = { ...FAKE_POOL, minIdle: 2 };
    const world = await createWorld({ pools: [pool], script: { jobTime: 1_500, bootTime: 50 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("one runs and two are warm", () => busy(world).length === 1 && warm(world).length === 2);
    const working = busy(world)[0]?.id;
    const before = new Set(warm(world).map(({ id }) => id));
    let fewest = 2;
    world.orchestrator.subscribe(() => {
      const usable = warm(world).filter(({ ending, removal }) => ending === undefined && removal === undefined);
      fewest = Math.min(fewest, usable.length);
    });
    world.composition.reload(world.settings({ pools: [{ ...pool, ...change }] }));
    await eventually("two others are warm and the old ones gone", () => {
      const others = warm(world).filter(({ id }) => !before.has(id));
      return others.length === 2 && world.runners().every(({ id }) => !before.has(id));
    });
    expect(fewest).toBe(2);
    expect(busy(world).map(({ id }) => id)).toEqual([working]);
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    const ended = world.history().filter(({ id }) => before.has(id));
    expect(ended.map(({ ending }) => ending?.reason)).toEqual(["outdated", "outdated"]);
  });

  it("that says the same leaves everything as it is", async () => {
    const world = await createWorld({ pools: [kept] });
    await eventually("one is warm", () => warm(world).length === 1);
    const [idle] = warm(world);
    world.composition.reload(world.settings({ pools: [{ ...kept, maxRunners: 7 }] }));
    await world.stop();
    await world.start({ pools: [{ ...kept, maxRunners: 7 }] });
    await eventually("the forge was read", () => world.orchestrator.targets()[0]?.health === "ok");
    const run = await world.push({ one: ["linux"] });
    await run.finished(ENOUGH());
    expect(attemptsOf(world.forge).map(({ runner }) => runner)).toEqual([idle?.name]);
  });

  it("without a pool ends its idle runners and lets its jobs end", async () => {
    const world = await createWorld({ pools: [kept], script: { jobTime: 600 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("one runs and one is warm", () => busy(world).length === 1 && warm(world).length === 1);
    world.composition.reload(world.settings({ pools: [{ ...FAKE_POOL, name: "other" }] }));
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    expect(attemptsOf(world.forge)).toHaveLength(1);
  });

  it("with another token asks the forge with that one", async () => {
    const world = await createWorld();
    await eventually("the forge answers", () => world.orchestrator.targets()[0]?.health === "ok");
    const settings = (apiToken: string) =>
      world.settings({ extra: { gitea: { instanceURL: world.forge.url, apiToken, runnerScope: "instance" } } });
    world.composition.reload(settings("no-such-token"));
    await eventually("it is refused", () => /401|403|token/.test(world.orchestrator.targets()[0]?.reason ?? ""));
    world.composition.reload(settings(world.token));
    const run = await world.push({ one: ["linux"] });
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
  });

  it("of another forge serves that one, and lets the first go when its last job ended", async () => {
    const world = await createWorld({ script: { jobTime: 500 } });
    const other = await createWorld({ idle: true });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    const gitea = { instanceURL: other.forge.url, apiToken: other.token, runnerScope: "instance" };
    world.composition.reload(world.settings({ extra: { gitea } }));
    expect(world.orchestrator.targets()).toHaveLength(2);
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    await eventually("the first is left alone", () => world.orchestrator.targets().length === 1);
    const second = await other.push({ two: ["linux"] });
    expect(await second.finished(ENOUGH())).toEqual({ two: "success" });
  });
});

describe("a runner that an operator stops", () => {
  const listening = (world: World) => world.runners().filter((runner) => runner.agent.phase === "listening");
  const oldForge = { forge: { version: "1.24.6" }, pools: [{ ...FAKE_POOL, minRunners: 1 }] };

  it("is not known, or busy and left alone, or ended by force", async () => {
    const world = await createWorld({ script: { jobTime: Infinity } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    const id = busy(world)[0]?.id ?? "";
    expect(world.orchestrator.stopRunner("default-nobody", false)).toBe("unknown");
    expect(world.orchestrator.stopRunner(id, false)).toBe("busy");
    expect(world.orchestrator.stopRunner(id, true)).toBe("ending");
    await world.cleared();
  });

  it("never loses the job that arrives at that moment, in fifty tries", async () => {
    const world = await createWorld({ ...oldForge, script: { jobTime: 5, fetchInterval: 3 } });
    let stopped = 0;
    for (let round = 0; round < 50; round++) {
      await eventually("one listens", () => listening(world).length > 0);
      const id = listening(world)[0]?.id ?? "";
      const pushed = world.push(many(1, ["linux"], `round${round}x`));
      // Somewhere between before and after the engine's next question.
      await new Promise((resolve) => setTimeout(resolve, (round % 10) * 0.7));
      if (world.orchestrator.stopRunner(id, false) === "ending") stopped++;
      await (await pushed).finished(ENOUGH());
    }
    expect(stopped).toBeGreaterThan(0);
    const attempts = attemptsOf(world.forge);
    expect(attempts).toHaveLength(50);
    expect(attempts.every(({ endedBy }) => endedBy === "runner")).toBe(true);
    const lost = world.history().filter(({ agent, ending }) => agent.phase === "busy" && ending?.reason === "forced");
    expect(lost).toEqual([]);
  });
});
