import { describe, expect, it } from "vitest";
import type { Fault } from "../../../src/forge-simulator/faults.ts";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);
const REGISTER = "POST /api/actions/runner.v1.RunnerService/Register";
/** Everything but what engines ask. */
const REST = /^[A-Z]+ \/api\/v1\//;

const health = (world: World) => world.orchestrator.targets()[0]?.health;
const busy = (world: World) => world.runners().filter((runner) => runner.agent.phase === "busy");
/** Lines that people would see about the forge. */
const toldOfForge = (world: World) =>
  world.lines.filter(({ msg }) => /forge/.test(msg)).map(({ level, msg }) => `${level} ${msg}`);

describe("a forge in trouble", () => {
  it.each<{ what: string; fault: Fault }>([
    { what: "answers 502", fault: { kind: "status", status: 502 } },
    { what: "shows a page of a proxy", fault: { kind: "html" } },
    { what: "sends half of its JSON", fault: { kind: "bad-json" } },
    { what: "ends connections in the middle", fault: { kind: "truncate" } },
    { what: "resets connections", fault: { kind: "reset" } },
    { what: "takes no token any more", fault: { kind: "status", status: 401 } },
    { what: "asks for patience", fault: { kind: "rate-limit", retryAfterSeconds: 1 } },
  ])("that $what: jobs go on, nothing is made or destroyed, and it is told once", async ({ fault }) => {
    const world = await createWorld({ script: { jobTime: 1_500 } });
    const first = await world.push(many(2, ["linux"], "running"));
    await eventually("two run", () => busy(world).length === 2);
    world.lines.length = 0;
    const heal = world.forge.faults.add({ match: REST, fault });
    await eventually("the forge is frozen", () => health(world) === "frozen");
    const reason = world.orchestrator.targets()[0]?.reason ?? "";
    expect(reason).not.toBe("");
    expect(reason).not.toContain(world.token);
    const second = await world.push({ later: ["linux"] });
    expect(await first.finished(ENOUGH())).toEqual({ running0: "success", running1: "success" });
    await eventually("their sandboxes are gone", () => world.scripted.running() === 0);
    expect(world.scripted.created).toHaveLength(2);
    heal();
    expect(await second.finished(ENOUGH())).toEqual({ later: "success" });
    await world.cleared();
    expect(world.scripted.created).toHaveLength(3);
    expect(attemptsOf(world.forge).every(({ endedBy }) => endedBy === "runner")).toBe(true);
    expect(toldOfForge(world)).toEqual([
      "warn the forge cannot be read; scaling of its pools stands still",
      "info the forge answers",
    ]);
  });

  it("is asked little while it is away, and found well within one poll", async () => {
    const poll = 1_000;
    const world = await createWorld({ poll });
    await eventually("it answers", () => health(world) === "ok");
    const heal = world.forge.faults.add({ fault: { kind: "status", status: 503 } });
    // The first read tries again by itself; then the circuit opens.
    await eventually("it is left alone", () => /is not asked/.test(world.orchestrator.targets()[0]?.reason ?? ""));
    world.forge.requests.clear();
    const since = performance.now();
    await eventually("five polls went by", () => performance.now() - since > 5 * poll);
    expect(world.forge.requests.total()).toBeLessThanOrEqual(15);
    heal();
    const healed = performance.now();
    await eventually("it answers again", () => health(world) === "ok");
    expect(performance.now() - healed).toBeLessThan(2 * poll);
  });

  it("that registers and loses the answer: the row is deleted, never used, and another made", async () => {
    const world = await createWorld();
    world.forge.faults.add({ match: REGISTER, fault: { kind: "drop-reply" }, times: 1 });
    const run = await world.push({ one: ["linux"] });
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    const rows = world.forge.runners("all");
    expect(rows).toHaveLength(2);
    expect(rows.map((row) => row.tasks.length)).toEqual([0, 1]);
    expect(world.history().map((runner) => runner.ending?.reason)).toEqual(["finished", "register-failed"]);
  });

  it("that refuses every registration: one try after the other, further and further apart", async () => {
    const world = await createWorld({ pools: [{ ...FAKE_POOL, maxRunners: 5 }] });
    world.forge.faults.add({ match: REGISTER, fault: { kind: "status", status: 500 } });
    await world.push(many(20, ["linux"]));
    await eventually("the pool waits", () => world.orchestrator.reasons()[0]?.code === "backing-off");
    await world.cleared();
    // Five at once; a sixth only where their rows could be looked for no earlier than the pool tried again.
    expect(world.forge.requests.counts()[REGISTER]).toBeLessThanOrEqual(6);
    expect(world.forge.runners("all")).toEqual([]);
  });

  it("that is slow: runners are made all the same, one for each job", async () => {
    const world = await createWorld({ forge: { latencyMs: 150 } });
    const run = await world.push(many(3, ["linux"]));
    await run.finished(ENOUGH());
    await world.cleared();
    expect(world.scripted.created).toHaveLength(3);
  });

  it("that loses the answer to a deletion: it is repeated until the row is gone", async () => {
    const world = await createWorld({ script: { jobTime: Infinity } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => busy(world).length === 1);
    world.forge.faults.add({ match: /^DELETE /, fault: { kind: "drop-reply" }, times: 1 });
    expect(world.orchestrator.stopRunner(busy(world)[0]?.id ?? "", true)).toBe("ending");
    await world.cleared();
    expect(world.history()[0]?.ending?.reason).toBe("forced");
  });

  it("that was away when the orchestrator started is served as soon as it comes", async () => {
    const world = await createWorld({ idle: true });
    const heal = world.forge.faults.add({ fault: { kind: "reset" } });
    await world.start();
    const run = await world.push({ one: ["linux"] });
    await eventually("it is frozen", () => /./.test(world.orchestrator.targets()[0]?.reason ?? ""));
    heal();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
  });
});
