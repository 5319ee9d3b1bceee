import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { createTokens } from "../../../src/metadata/tokens.ts";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, type World } from "../../support/world.ts";

/** A host whose wall clock is set by hours while runners are at every stage of their way. */
const HOUR = 3_600_000;
const ENOUGH = () => AbortSignal.timeout(30_000);
const isBusy = (world: World) => world.runners().some(({ agent }) => agent.phase === "busy");

/** The system's clock, with a wall that the test moves. */
function movableClock() {
  let ahead = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + ahead };
  return { clock, jump: (by: number) => void (ahead += by) };
}

describe("a jump of the wall clock", () => {
  it.each([
    ["forwards by five hours", 5 * HOUR],
    ["backwards by five hours", -5 * HOUR],
    ["to and fro, all the time", 0],
  ])("%s ends nothing and loses nothing", async (_, by) => {
    const { clock, jump } = movableClock();
    const pool = { ...FAKE_POOL, minIdle: 1, minRunners: 1 };
    const world = await createWorld({ clock, pools: [pool], script: { jobTime: 1_500 } });
    await eventually("one waits for work", () => world.runners().some(({ agent }) => agent.phase === "up"));
    const idle = world.runners().map(({ id }) => id);
    const run = await world.push({ long: ["linux"] });
    await eventually("it runs", () => isBusy(world));
    const [busy] = world.runners().filter(({ agent }) => agent.phase === "busy");
    jump(by);
    const swings = by === 0 ? 20 : 0;
    for (let swing = 0; swing < swings; swing++) {
      jump(swing % 2 === 0 ? 9 * HOUR : -9 * HOUR);
      await systemClock.sleep(20);
    }
    const short = await world.push({ short: ["linux"] });
    expect(await short.finished(ENOUGH())).toEqual({ short: "success" });
    expect(await run.finished(ENOUGH())).toEqual({ long: "success" });
    await eventually("both are closed", () => world.history().length === 2);
    expect(world.history().map(({ ending }) => ending?.reason)).toEqual(["finished", "finished"]);
    expect(world.history().map(({ id }) => id)).toContain(busy?.id);
    expect(idle.length).toBeGreaterThan(0);
    expect(attemptsOf(world.forge).map(({ endedBy }) => endedBy)).toEqual(["runner", "runner"]);
    expect(world.lines.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
    expect(world.orchestrator.targets()).toMatchObject([{ health: "ok" }]);
  });

  it("does not bring a limit nearer, nor put it off", async () => {
    const { clock, jump } = movableClock();
    const world = await createWorld({ clock, script: { jobTime: 600_000 }, extra: { limits: { job: "2s" } } });
    await world.push({ endless: ["linux"] });
    await eventually("it runs", () => isBusy(world));
    const began = performance.now();
    jump(-5 * HOUR);
    await eventually("the limit ends it", () => world.history().length === 1);
    expect(world.history()[0]?.ending?.reason).toBe("job-timeout");
    expect(performance.now() - began).toBeGreaterThan(1_500);
  });

  it("does not change what a metadata token is good for", () => {
    let uptime = 0;
    const { clock, jump } = movableClock();
    const tokens = createTokens({ ...clock, uptime: () => uptime });
    const token = tokens.issue(60);
    jump(5 * HOUR);
    expect(tokens.accepts(token)).toBe(true);
    jump(-10 * HOUR);
    uptime = 60_000;
    expect(tokens.accepts(token)).toBe(false);
  });
});
