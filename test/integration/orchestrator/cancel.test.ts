import { describe, expect, it } from "vitest";
import { eventually } from "../../support/orchestrator.ts";
import { createWorld } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);
const idleSoon = { extra: { limits: { idle: "1s" } } };

describe("a job that is cancelled", () => {
  it("before a runner was there for it leaves no runner behind", async () => {
    const world = await createWorld({ ...idleSoon, script: { bootTime: 400 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("its runner boots", () => world.runners()[0]?.sandbox.phase === "running");
    world.forge.cancelRun(run.id);
    expect(await run.finished(ENOUGH())).toEqual({ one: "cancelled" });
    await world.cleared();
    expect(run.job("one").attempts).toEqual([]);
  });

  it.each([
    { what: "and whose row the forge deletes", rowGoneAtCancel: true },
    { what: "and whose row stays until its runner asks", rowGoneAtCancel: false },
  ])("while it runs, $what, ends its runner", async ({ rowGoneAtCancel }) => {
    const world = await createWorld({ script: { jobTime: Infinity }, forge: { behaviours: { rowGoneAtCancel } } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => world.runners()[0]?.agent.phase === "busy");
    world.forge.cancelRun(run.id);
    await world.cleared();
    const [runner] = world.history();
    expect(runner?.ending?.reason).toBe("finished");
    expect(runner?.agent).toMatchObject({ phase: "finished", result: "cancelled" });
    expect(run.job("one").attempts).toHaveLength(1);
  });

  it("under an engine that does not notice ends by the word of the forge", async () => {
    const world = await createWorld({ script: { jobTime: Infinity, neverReports: true } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => world.runners()[0]?.agent.phase === "busy");
    world.forge.cancelRun(run.id);
    await world.cleared();
    expect(world.history()[0]?.ending?.reason).toBe("cancelled-by-forge");
  });

  it("and another that waits: the runner takes the other", async () => {
    const world = await createWorld({ script: { bootTime: 300 } });
    const first = await world.push({ one: ["linux"] });
    await eventually("its runner boots", () => world.runners()[0]?.sandbox.phase === "running");
    world.forge.cancelRun(first.id);
    const second = await world.push({ two: ["linux"] });
    expect(await second.finished(ENOUGH())).toEqual({ two: "success" });
    await world.cleared();
    expect(world.scripted.created).toHaveLength(1);
  });
});

describe("a sandbox that dies", () => {
  it("under its job is recorded so, and its row goes", async () => {
    const world = await createWorld({ script: { jobTime: Infinity } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => world.runners()[0]?.agent.phase === "busy");
    world.scripted.crash(world.runners()[0]?.hex ?? "");
    await world.cleared();
    const [runner] = world.history();
    expect(runner?.ending).toMatchObject({ reason: "sandbox-exited" });
    expect(runner?.ending?.detail).toContain("under its job");
    expect(world.history()).toHaveLength(1);
  });

  it("before its job is replaced", async () => {
    const world = await createWorld({ script: { bootTime: 300 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it boots", () => world.runners()[0]?.sandbox.phase === "running");
    world.scripted.crash(world.runners()[0]?.hex ?? "");
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    expect(world.history().map((runner) => runner.ending?.reason)).toEqual(["finished", "sandbox-exited"]);
  });
});
