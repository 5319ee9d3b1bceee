import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let world: World;

beforeAll(async () => {
  world = await startWorld({
    image: await buildTestImage(),
    forge: { flavour: "forgejo", version: "15.0.0+gitea-1.22.0" },
    pools: [{ name: "pool", limits: { idle: "10m" } }],
  });
});
afterEach(() => world.settled());
afterAll(() => world?.close());

describe("runners that are bound to a job's handle", () => {
  it("take only that job; one whose job is cancelled takes no other and goes", async () => {
    const cancelled = await world.push({ job: [{ run: "echo never" }] });
    const orphan = await world.runner("a guest that boots", ({ phase }) => phase === "started");
    const kept = await world.push({ job: [{ run: "echo kept" }] });
    world.forge.cancelRun(cancelled.id);
    const closed = await world.closed("its end", ({ id }) => id === orphan.id);
    expect(closed).toMatchObject({ status: "stopped", ending: { reason: "job-gone" } });
    expect(cancelled.job("job").attempts).toEqual([]);

    expect(await world.finished(kept)).toEqual({ job: "success" });
    const runner = await world.closedRunner(kept, "job");
    expect(runner.id).not.toBe(orphan.id);
    expect(runner).toMatchObject({ result: "success" });
    const counts = world.forge.requests.counts();
    expect(counts["POST /api/actions/runner.v1.RunnerService/FetchSingleTask"]).toBeGreaterThan(0);
    expect(counts["POST /api/actions/runner.v1.RunnerService/FetchTask"]).toBeUndefined();
    expect(counts["POST /api/actions/runner.v1.RunnerService/Register"]).toBeUndefined();
  });
});
