import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many } from "../../support/world.ts";

const pool = (name: string, labels: string[], over: Record<string, unknown> = {}) => ({
  ...FAKE_POOL,
  name,
  runner: { name, labels },
  ...over,
});
const ENOUGH = () => AbortSignal.timeout(30_000);

describe("pools of runners", () => {
  it("with overlapping labels each make runners for what fits them best", async () => {
    const world = await createWorld({
      pools: [pool("general", ["linux", "arm", "gpu"]), pool("linux", ["linux"]), pool("arm", ["linux", "arm"])],
      // The forge may give any job to any runner that fits, so that one may be left over.
      extra: { limits: { idle: "1s" } },
    });
    const run = await world.push({ plain: ["linux"], arm: ["linux", "arm"], gpu: ["gpu"] });
    await run.finished(ENOUGH());
    await world.cleared();
    expect(run.job("gpu").attempts[0]?.runner.name).toMatch(/^general-/);
    expect(run.job("arm").attempts[0]?.runner.name).toMatch(/^(arm|general)-/);
    const firstMade = world.history().toSorted((a, b) => a.at - b.at || a.since - b.since);
    expect(
      firstMade
        .slice(0, 3)
        .map((runner) => runner.pool)
        .toSorted(),
    ).toEqual(["arm", "general", "linux"]);
  });

  it("go on in another pool when the best one is full", async () => {
    const world = await createWorld({
      pools: [pool("big", ["linux", "extra"]), pool("small", ["linux"], { maxRunners: 1 })],
      script: { jobTime: 100 },
    });
    const run = await world.push(many(3, ["linux"]));
    await run.finished(ENOUGH());
    await world.cleared();
    expect(
      world
        .history()
        .map((runner) => runner.pool)
        .toSorted(),
    ).toEqual(["big", "big", "small"]);
  });

  it("that match no job say so once, with the label that none has", async () => {
    const world = await createWorld();
    await world.push({ odd: ["linux", "gpu"] });
    await eventually("the reason is known", () => world.orchestrator.reasons()[0]?.code === "no-pool-matches");
    let plans = 0;
    world.orchestrator.subscribe(({ kind }) => {
      if (kind === "plan") plans++;
    });
    const run = await world.push({ plain: ["linux"] });
    await run.finished(ENOUGH());
    await eventually("it was planned often since", () => plans > 5);
    const warnings = world.lines.filter(({ msg }) => msg === "a job waits that no pool matches");
    expect(warnings).toMatchObject([{ level: "warn", name: "odd", detail: "no pool offers the label gpu" }]);
  });

  it("have no runners without jobs, and none is made before there is one", async () => {
    const world = await createWorld();
    await eventually("the forge was read", () => world.forge.requests.total() > 3);
    expect(world.scripted.created).toEqual([]);
    const run = await world.push({ one: ["linux"] });
    await run.finished(ENOUGH());
    await world.cleared();
    expect(world.scripted.created).toHaveLength(1);
  });

  it("keep warm sandboxes without a row, and register one when a job comes", async () => {
    const world = await createWorld({ pools: [pool("warm", ["linux"], { minIdle: 2 })] });
    const idle = () => world.runners().filter((runner) => runner.agent.phase === "up");
    await eventually("two are warm", () => idle().length === 2);
    expect(world.forge.runners("all")).toEqual([]);
    const warm = world.scripted.created.slice();
    const run = await world.push({ one: ["linux"] });
    await run.finished(ENOUGH());
    const [attempt] = run.job("one").attempts;
    expect(warm.some((hex) => attempt?.runner.name.endsWith(hex))).toBe(true);
    await eventually("the warm one was replaced", () => idle().length === 2 && world.runners().length === 2);
    expect(world.forge.runners("existing")).toEqual([]);
  });

  it("count busy runners towards minRunners", async () => {
    const world = await createWorld({
      pools: [pool("kept", ["linux"], { minRunners: 2 })],
      script: { jobTime: 300 },
    });
    await eventually("two are there", () => world.runners().length === 2);
    const run = await world.push({ one: ["linux"] });
    await run.finished(ENOUGH());
    await eventually("two are there again", () => world.runners().length === 2 && world.history().length === 1);
    expect(world.scripted.created).toHaveLength(3);
  });

  it("register idle runners where the forge shows no queue", async () => {
    const world = await createWorld({
      forge: { version: "1.24.6" },
      pools: [pool("kept", ["linux"], { minRunners: 1 })],
    });
    const listening = () => world.runners().filter((runner) => runner.agent.phase === "listening");
    await eventually("one listens", () => listening().length === 1);
    expect(world.forge.runners("existing")).toHaveLength(1);
    const run = await world.push({ one: ["linux"] });
    await run.finished(ENOUGH());
    await eventually("another listens", () => listening().length === 1 && world.history().length === 1);
  });

  it("serve a burst of a hundred jobs, each on a runner of its own, never above the maximum", async () => {
    const world = await createWorld({ pools: [pool("many", ["linux"], { maxRunners: 30 })], script: { jobTime: 30 } });
    let most = 0;
    world.orchestrator.subscribe(() => {
      most = Math.max(most, world.scripted.running());
    });
    const run = await world.push(many(100, ["linux"]));
    await run.finished(ENOUGH());
    await world.cleared();
    const attempts = attemptsOf(world.forge);
    expect(attempts).toHaveLength(100);
    expect(new Set(attempts.map(({ runner }) => runner)).size).toBe(100);
    expect(attempts.every(({ endedBy }) => endedBy === "runner")).toBe(true);
    expect(most).toBeLessThanOrEqual(30);
    expect(world.scripted.created.length).toBeLessThanOrEqual(110);
  });

  it("pause and resume, also over a restart", async () => {
    const world = await createWorld({ script: { jobTime: 200 } });
    const first = await world.push({ before: ["linux"] });
    await eventually("it runs", () => world.runners()[0]?.agent.phase === "busy");
    world.orchestrator.pause("default");
    const second = await world.push({ later: ["linux"] });
    await eventually("the reason is known", () => world.orchestrator.reasons()[0]?.code === "paused");
    expect(await first.finished(ENOUGH())).toEqual({ before: "success" });
    await world.stop();
    await world.start();
    await eventually("the reason is still known", () => world.orchestrator.reasons()[0]?.code === "paused");
    expect(world.scripted.created).toHaveLength(1);
    world.orchestrator.resume("default");
    expect(await second.finished(ENOUGH())).toEqual({ later: "success" });
    await world.cleared();
  });
});
