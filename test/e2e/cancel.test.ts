import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let world: World;

beforeAll(async () => {
  world = await startWorld({
    image: await buildTestImage(),
    // A runner that is not needed any more goes soon.
    pools: [{ name: "pool", limits: { idle: "2s" } }],
  });
});
afterEach(() => world.settled());
afterAll(() => world?.close());

const hang = [{ run: "echo it hangs; sleep 600" }];
const attemptsOf = (pushed: Awaited<ReturnType<World["push"]>>) => pushed.job("job").attempts;

describe("cancels from the forge", () => {
  it("before a runner picks the job, and during boot: no runner runs it, and none is left", async () => {
    const picked = "POST /api/actions/runner.v1.RunnerService/FetchTask";
    const heal = world.forge.faults.add({ match: picked, fault: { kind: "status", status: 503 } });
    const early = await world.push({ job: hang });
    const booting = await world.runner("a guest that boots", ({ phase }) => phase === "started");
    world.forge.cancelRun(early.id);
    const late = await world.push({ job: hang });
    // It takes the runner that boots already.
    const ready = await world.runner("a ready runner", ({ phase }) => phase === "ready");
    expect(ready.id).toBe(booting.id);
    world.forge.cancelRun(late.id);
    heal();
    const closed = await world.closed("its end", ({ id }) => id === ready.id);
    expect(closed).toMatchObject({ status: "stopped", ending: { reason: "idle-timeout" } });
    expect([...attemptsOf(early), ...attemptsOf(late)]).toEqual([]);
    expect((await world.daemon.history()).filter(({ id }) => id !== closed.id)).toEqual([]);
  });

  it("while it runs: told to the runner, and when its row is gone already", async () => {
    const told = await world.push({ job: hang });
    const untold = await world.push({ job: hang });
    const lines = (run: typeof told) => (attemptsOf(run)[0]?.log ?? []).map(({ content }) => content);
    for (const run of [told, untold]) {
      await world.daemon.until("the job's first line", () => (lines(run).includes("it hangs") ? true : undefined));
    }
    world.forge.behaviours.rowGoneAtCancel = false;
    world.forge.cancelRun(told.id);
    world.forge.behaviours.rowGoneAtCancel = true;
    world.forge.cancelRun(untold.id);
    const [first, second] = [await world.closedRunner(told, "job"), await world.closedRunner(untold, "job")];
    expect(first).toMatchObject({ result: "cancelled", status: "stopped", ending: { reason: "finished" } });
    expect(lines(told).join()).toContain("The job was cancelled");
    // Its engine finds out when it next reports, the host when it has read the queue and the rows: whichever is sooner.
    expect(second).toMatchObject({ result: "cancelled", status: "stopped" });
    expect(["finished", "cancelled-by-forge"]).toContain(second.ending?.reason);
    for (const run of [told, untold]) expect(attemptsOf(run)).toMatchObject([{ endedBy: "cancel" }]);
  });
});
