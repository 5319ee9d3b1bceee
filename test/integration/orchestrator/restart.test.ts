import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);
const busy = (world: World) => world.runners().filter((runner) => runner.agent.phase === "busy");
const store = (world: World) => join(world.directory, "state", "state.db");
const loseStore = (world: World) => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(store(world) + suffix, { force: true });
};
const eachOnce = (world: World) =>
  attemptsOf(world.forge).every(({ endedBy }) => endedBy === "runner") &&
  world.forge.jobs().every(({ attempts }) => attempts.length === 1);

describe("an orchestrator that is started again", () => {
  it("adopts what runs and finishes it as if nothing had happened", async () => {
    const world = await createWorld({ script: { jobTime: 800 } });
    const run = await world.push(many(4, ["linux"]));
    await eventually("all run", () => busy(world).length === 4);
    await world.stop();
    await world.start();
    expect(await run.finished(ENOUGH())).toEqual({
      job0: "success",
      job1: "success",
      job2: "success",
      job3: "success",
    });
    await world.cleared();
    expect(eachOnce(world)).toBe(true);
    expect(world.history().map((runner) => runner.ending?.reason)).toEqual(Array(4).fill("finished"));
    expect(world.scripted.created).toHaveLength(4);
    for (const { timeline } of world.history()) {
      expect(Object.keys(timeline)).toEqual(
        expect.arrayContaining(["observed", "registered", "started", "ready", "assigned", "finished", "destroyed"]),
      );
    }
  });

  it("records what ended while it was away", async () => {
    const world = await createWorld({ script: { jobTime: 300 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    await world.stop();
    await run.finished(ENOUGH());
    // Its agent waits for a host for a while, to tell it.
    await world.start();
    await world.cleared();
    expect(eachOnce(world)).toBe(true);
    expect(world.history()[0]?.ending?.reason).toBe("finished");
  });

  it("records a job that ended while nobody listened as finished, by the word of the forge", async () => {
    const world = await createWorld({ script: { jobTime: 200, lastWords: 0 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    await world.stop();
    await run.finished(ENOUGH());
    await eventually("its sandbox ended", () => world.scripted.alive() === 0);
    await world.start();
    await world.cleared();
    expect(world.history()[0]?.ending).toMatchObject({ reason: "finished" });
    expect(world.orchestrator.memory().pools).toEqual({});
  });

  it("records a sandbox that vanished meanwhile, and gets rid of its row", async () => {
    const world = await createWorld({ script: { jobTime: Infinity } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    await world.stop();
    await world.scripted.end();
    await world.start();
    await world.cleared();
    expect(world.history()[0]?.ending).toMatchObject({ reason: "sandbox-exited" });
    expect(world.history()[0]?.ending?.detail).toContain("gone when the orchestrator started");
  });

  it("without its store goes on with the jobs that run, and loses none", async () => {
    const world = await createWorld({ script: { jobTime: 1_000 } });
    const run = await world.push(many(3, ["linux"]));
    await eventually("all run", () => busy(world).length === 3);
    await world.stop();
    loseStore(world);
    await world.start();
    await eventually("all are known again", () => busy(world).length === 3);
    await run.finished(ENOUGH());
    await world.cleared();
    expect(eachOnce(world)).toBe(true);
    expect(world.scripted.created).toHaveLength(3);
    expect(world.history().map((runner) => runner.ending?.reason)).toEqual(Array(3).fill("finished"));
    expect(world.lines.filter(({ msg }) => msg === "adopted a sandbox whose record was lost")).toHaveLength(3);
  });

  it("without its store and without the forge destroys nothing before the forge can say what runs", async () => {
    const world = await createWorld({ script: { jobTime: 2_500 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    await world.stop();
    loseStore(world);
    const heal = world.forge.faults.add({ match: /^[A-Z]+ \/api\/v1\//, fault: { kind: "status", status: 503 } });
    await world.start();
    const since = performance.now();
    await eventually("the host was searched some times", () => performance.now() - since > 1_200);
    expect(world.scripted.running()).toBe(1);
    heal();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    expect(eachOnce(world)).toBe(true);
  });

  it("sets a broken store aside with a warning and serves", async () => {
    const world = await createWorld({ idle: true });
    await world.start();
    await world.stop();
    writeFileSync(store(world), "this is no database, but text that is long enough to be read as a header of one");
    await world.start();
    expect(world.lines.some(({ level, msg }) => level === "warn" && msg.includes("set aside"))).toBe(true);
    const run = await world.push({ one: ["linux"] });
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
  });

  it("without its store removes sandboxes and rows that serve nothing", async () => {
    const world = await createWorld({ pools: [{ ...FAKE_POOL, minIdle: 2 }] });
    const warm = () => world.runners().filter((runner) => runner.agent.phase === "up");
    await eventually("two are warm", () => warm().length === 2);
    const before = world.scripted.created.slice();
    await world.stop();
    loseStore(world);
    await world.start();
    await eventually("two others are warm", () => warm().length === 2);
    await eventually("and the first are gone", () => world.scripted.running() === 2);
    expect(warm().some((runner) => before.includes(runner.hex))).toBe(false);
    const removed = world.lines.flatMap(({ msg, sandbox }) =>
      msg.includes("removed a sandbox") ? String(sandbox) : [],
    );
    expect(removed.toSorted()).toEqual(before.toSorted());
  });

  it("of which another forge runs the jobs that are left ends them, and keeps no record for ever", async () => {
    const world = await createWorld({ script: { jobTime: 600 } });
    const run = await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    await world.stop();
    const elsewhere = { instanceURL: "http://127.0.0.1:9", apiToken: "none", runnerScope: "instance" };
    await world.start({ extra: { gitea: elsewhere } });
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await eventually("its record is closed", () => world.runners().length === 0);
    expect(world.history()[0]?.ending?.reason).toBe("finished");
    expect(world.lines.some(({ msg }) => msg.startsWith("its registration stays"))).toBe(true);
  });
});

describe("two orchestrators on one forge", () => {
  it("never touch each other's runners", async () => {
    const one = await createWorld({ script: { jobTime: 500 } });
    const other = await createWorld({ script: { jobTime: 500 }, beside: one, hostId: "def456" });
    const run = await one.push(many(6, ["linux"]));
    await run.finished(ENOUGH());
    await eventually("one is empty", () => busy(one).length === 0);
    await eventually("the other is empty", () => busy(other).length === 0);
    expect(attemptsOf(one.forge)).toHaveLength(6);
    expect(eachOnce(one)).toBe(true);
    const swept = [...one.lines, ...other.lines].filter(({ msg }) => msg.includes("no record knew"));
    expect(swept).toEqual([]);
    const endings = [...one.history(), ...other.history()].map((runner) => runner.ending?.reason);
    expect(endings.filter((reason) => reason !== "finished" && reason !== "idle-timeout")).toEqual([]);
  });
});
