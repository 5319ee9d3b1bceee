import { describe, expect, it } from "vitest";
import { eventually, FAKE_POOL } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World, type WorldOptions } from "../../support/world.ts";

const ENOUGH = () => AbortSignal.timeout(30_000);
const POOL = {
  ...FAKE_POOL,
  engine: "gitea-runner",
  runner: { name: "ft", labels: ["linux"], agent: "original" },
};

const original = ({ script, ...options }: WorldOptions = {}): Promise<World> =>
  createWorld({ pools: [POOL], ...options, script: { original: true, ...script } });

describe("guests with the original's agent", () => {
  it("run jobs that are over before the forge shows them running", async () => {
    const world = await original();
    const run = await world.push(many(3, ["linux"]));
    expect(Object.values(await run.finished(ENOUGH()))).toEqual(["success", "success", "success"]);
    await world.cleared();
    expect(world.history().map(({ ending }) => ending?.reason)).toEqual(["finished", "finished", "finished"]);
    for (const { timeline } of world.history()) {
      const phases = ["observed", "registered", "started", "ready", "assigned", "finished", "destroyed"];
      expect(Object.keys(timeline)).toEqual(expect.arrayContaining(phases));
      expect(timeline.registered).toBeLessThanOrEqual(timeline.started ?? 0);
    }
    expect(world.scripted.dialled).toEqual([]);
    expect(new Set(attemptsOf(world.forge).map(({ runner }) => runner)).size).toBe(3);
  });

  it("are busy when the forge says so, and known again by another process", async () => {
    const world = await original({ script: { jobTime: 2_000 } });
    const run = await world.push({ one: ["linux"] });
    const isBusy = () => world.runners()[0]?.agent.phase === "busy";
    await eventually("it is busy", isBusy);
    expect(world.runners()[0]?.agent).toMatchObject({ job: { name: "one", repository: "org/app" } });
    await world.stop();
    await world.start();
    await eventually("it is busy again", isBusy);
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await world.cleared();
    expect(world.history()[0]?.ending?.reason).toBe("finished");
    expect(world.scripted.created).toHaveLength(1);
  });

  it("wait for jobs, registered, where a pool has a minimum, and go when it has none any more", async () => {
    const world = await original({ pools: [{ ...POOL, minIdle: 1 }] });
    await eventually("one listens", () => world.runners()[0]?.agent.phase === "listening");
    const [waiting] = world.runners();
    world.composition.reload(world.settings({ pools: [{ ...POOL, runner: { ...POOL.runner, labels: ["other"] } }] }));
    await world.cleared();
    expect(world.history()).toMatchObject([{ id: waiting?.id, ending: { reason: "outdated" } }]);
  });

  it("are not removed when a job came to them meanwhile", async () => {
    const world = await original({ pools: [{ ...POOL, minIdle: 1 }], script: { jobTime: 1_000 } });
    await eventually("one listens", () => world.runners()[0]?.agent.phase === "listening");
    const [waiting] = world.runners();
    const run = await world.push({ one: ["linux"] });
    world.orchestrator.stopRunner(waiting?.id ?? "", false);
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await eventually("it is closed", () => world.history().some(({ id }) => id === waiting?.id));
    expect(world.forge.jobs()[0]?.attempts).toHaveLength(1);
    world.composition.reload(world.settings({ pools: [POOL] }));
    for (const { id } of world.runners()) world.orchestrator.stopRunner(id, false);
    await world.cleared();
  });

  it("that end without a job are a failure of their pool", async () => {
    const world = await original({ script: { bootTime: Number.POSITIVE_INFINITY } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => world.scripted.alive() === 1);
    const [runner] = world.runners();
    world.scripted.crash(runner?.hex ?? "");
    await eventually("it is closed", () => world.history().length === 1);
    expect(world.history()[0]?.ending?.reason).toBe("sandbox-exited");
    expect(world.orchestrator.memory().pools["default"]?.error).toContain("crashed by the test");
  });

  it.each([true, false])("get the scope's registration token only if that is allowed: %s", async (allowed) => {
    const world = await original({ idle: true, script: { jobTime: Number.POSITIVE_INFINITY } });
    const forge = { instanceURL: world.forge.url, apiToken: world.token, runnerScope: "instance" };
    await world.start({ extra: { gitea: { ...forge, legacyRegistrationToken: allowed } } });
    await world.push({ one: ["linux"] });
    await eventually("it runs", () => world.scripted.alive() === 1);
    const headers = { authorization: `token ${world.token}` };
    const url = `${world.forge.url}/api/v1/admin/actions/runners/registration-token`;
    const { token } = (await (await fetch(url, { method: "POST", headers })).json()) as { token: string };
    const spec = world.scripted.spec(world.runners()[0]?.hex ?? "");
    expect(JSON.stringify(spec?.metadata).includes(token)).toBe(allowed);
    expect(JSON.stringify(spec?.files)).not.toContain(token);
    expect(JSON.stringify(world.lines)).not.toContain(token);
    expect(Object.keys(spec?.files ?? {})).toEqual(["/opt/act_runner/.runner"]);
  });
});
