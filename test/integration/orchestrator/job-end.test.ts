import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Runner } from "../../../src/core/types.ts";
import { eventually } from "../../support/orchestrator.ts";
import { createWorld, type World } from "../../support/world.ts";

/** Far below what a forge's own timer takes. */
const SOON = () => AbortSignal.timeout(10_000);
const API = /^[A-Z]+ \/api\//;

const busy = (world: World): Runner | undefined => world.runners().find(({ agent }) => agent.phase === "busy");
const begun = (world: World) => eventually("its job runs", () => busy(world) !== undefined);
const crash = (world: World) => world.scripted.crash(world.scripted.created[0] ?? "");

/** A world in which one job runs. */
async function atWork(options: Parameters<typeof createWorld>[0] = {}) {
  const world = await createWorld({ ...options, script: { jobTime: Infinity, ...options.script } });
  const run = await world.push({ one: ["linux"] });
  await begun(world);
  const attempt = () => {
    const [only, ...more] = run.job("one").attempts;
    if (only === undefined || more.length > 0) throw new Error("the job has not had one attempt");
    return only;
  };
  return { world, run, attempt, lastLine: () => attempt().log.at(-1)?.content };
}

describe("a job whose runner ends under it fails in the forge at once", () => {
  it.each([
    { flavour: "gitea", version: "1.25.1" },
    { flavour: "gitea", version: "1.27.2" },
    { flavour: "forgejo", version: "15.0.0+gitea-1.22.0" },
  ] as const)("when its sandbox dies, at $flavour $version", async (forge) => {
    const { world, run, attempt, lastLine } = await atWork({ forge });
    const { name } = busy(world) ?? {};
    crash(world);
    expect(await run.finished(SOON())).toEqual({ one: "failure" });
    await world.cleared();
    expect(attempt()).toMatchObject({ endedBy: "runner", logClosed: true, repeats: 0 });
    expect(lastLine()).toBe(
      `::error::Fireteact: the runner ${name} ended before this job did: the sandbox ended under its job: crashed by the test`,
    );
    expect(world.history()).toMatchObject([{ ending: { reason: "sandbox-exited" }, outcome: { state: "failed" } }]);
  });

  it("when it reaches its limit", async () => {
    const { world, run, lastLine } = await atWork({ extra: { limits: { job: "1s" } } });
    expect(await run.finished(SOON())).toEqual({ one: "failure" });
    await world.cleared();
    expect(lastLine()).toContain("the job did not end within 1 s");
    expect(world.history()).toMatchObject([{ ending: { reason: "job-timeout" }, outcome: { state: "failed" } }]);
  });

  it("when an operator stops it by force", async () => {
    const { world, run, lastLine } = await atWork();
    world.orchestrator.stopRunner(world.runners()[0]?.id ?? "", true);
    expect(await run.finished(SOON())).toEqual({ one: "failure" });
    await world.cleared();
    expect(lastLine()).toContain("an operator ended it");
  });

  it("when the service is told to end everything", async () => {
    const { world, run, lastLine } = await atWork();
    await world.composition.stop("kill", 10_000);
    expect(await run.finished(SOON())).toEqual({ one: "failure" });
    expect(lastLine()).toContain("the orchestrator was told to end everything");
    expect(world.forge.runners("existing")).toEqual([]);
  });

  it("when its sandbox died while no orchestrator ran", async () => {
    const { world, run, lastLine } = await atWork();
    await world.stop();
    crash(world);
    await world.start();
    expect(await run.finished(SOON())).toEqual({ one: "failure" });
    await world.cleared();
    expect(lastLine()).toContain("crashed by the test");
  });

  it("when the forge is in trouble at that moment: the host is cleared first, the forge told when it is back", async () => {
    const { world, run } = await atWork();
    const heal = world.forge.faults.add({ match: API, fault: { kind: "status", status: 503 } });
    await eventually("the forge is given up", () => world.orchestrator.targets()[0]?.health === "frozen");
    crash(world);
    await eventually("its sandbox is gone", () => world.runners()[0]?.sandbox.phase === "gone");
    expect(world.runners()).toMatchObject([{ registration: { phase: "active" } }]);
    heal();
    // The circuit to a forge in trouble is closed for a while.
    expect(await run.finished(AbortSignal.timeout(30_000))).toEqual({ one: "failure" });
    await world.cleared();
  });
});

describe("a job whose runner ends under it is not made a failure", () => {
  it("when it had succeeded, and only its last words were lost", async () => {
    const { world, run, attempt } = await atWork({ script: { jobTime: 300, endsUnheard: true } });
    expect(await run.finished(SOON())).toEqual({ one: "success" });
    await world.cleared();
    expect(attempt()).toMatchObject({ status: "success", repeats: 0, log: [] });
    expect(world.history()).toMatchObject([{ ending: { reason: "sandbox-exited" }, outcome: { state: "over" } }]);
  });

  it.each([true, false])("when the user cancelled it; its row goes with it: %s", async (rowGoneAtCancel) => {
    const { world, run, attempt } = await atWork({ forge: { behaviours: { rowGoneAtCancel } } });
    world.forge.cancelRun(run.id);
    crash(world);
    await world.cleared();
    expect(attempt()).toMatchObject({ status: "cancelled", endedBy: "cancel", log: [] });
    expect(world.history()[0]?.outcome).toEqual(
      rowGoneAtCancel ? { state: "over" } : { state: "over", result: "cancelled" },
    );
  });
});

describe("a job that cannot be told of waits for the forge's own timer, and the record says so", () => {
  it("when its number is not known", async () => {
    const { world, run, attempt } = await atWork({
      script: { withholdsTask: true },
      forge: { timers: { zombieMs: 1, checkEveryMs: 3_600_000 } },
    });
    crash(world);
    await world.cleared();
    expect(run.job("one").status).toBe("running");
    expect(world.history()[0]?.outcome).toEqual({ state: "left", detail: "its number in the forge is not known" });
    expect(world.lines.filter(({ msg }) => msg === "a job stays with the forge's own timer")).toHaveLength(1);
    world.forge.runTimers();
    expect(attempt()).toMatchObject({ status: "failure", endedBy: "zombie" });
  });

  it("when its credentials were lost with the store", async () => {
    const { world, run } = await atWork();
    await world.stop();
    for (const suffix of ["", "-wal", "-shm"]) {
      rmSync(join(world.directory, "state", `state.db${suffix}`), { force: true });
    }
    await world.start();
    await begun(world);
    crash(world);
    await world.cleared();
    expect(run.job("one").status).toBe("running");
    expect(world.history()[0]?.outcome).toEqual({ state: "left", detail: "the runner's credentials are lost" });
  });
});
