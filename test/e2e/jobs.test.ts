import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { silentInitrd } from "../support/e2e/initrd.ts";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let world: World;

beforeAll(async () => {
  const image = await buildTestImage();
  world = await startWorld({
    image,
    pools: [
      { name: "small", runner: { labels: ["e2e", "small"] } },
      { name: "large", runner: { labels: ["e2e", "large"] } },
      { name: "engine-limit", runner: { labels: ["engine-limit"] }, limits: { engine: "3s", job: "5m" } },
      { name: "job-limit", runner: { labels: ["job-limit"] }, limits: { engine: "3s", job: "8s" } },
      {
        name: "silent",
        runner: { labels: ["silent"] },
        qemu: { kernelPath: image.kernel, initrdPath: silentInitrd(image) },
        limits: { boot: "6s" },
      },
    ],
  });
});
afterEach(() => world.settled());
afterAll(() => world?.close());

describe("jobs", () => {
  it("runs one in a fresh guest: checkout, environment, outputs, log, timeline", async () => {
    const run = await world.push({
      build: [
        { uses: "actions/checkout@v4" },
        { id: "look", run: 'echo "name=$(cat name.txt)" >> "$GITHUB_OUTPUT"\nid -un\nnode --version' },
        { run: 'echo "it is ${{ steps.look.outputs.name }}"; cat /proc/cmdline' },
      ],
    });
    expect(await world.finished(run)).toEqual({ build: "success" });
    const log = world.log(run, "build");
    expect(log).toContain("it is acme/site");
    expect(log).toContain("fireteact.address=172.31.0.2/30");
    expect(log.split("\n")).toContain("runner");
    expect(run.job("build").attempts).toMatchObject([{ endedBy: "runner", logClosed: true }]);
    const runner = await world.closedRunner(run, "build");
    expect(runner).toMatchObject({ result: "success", status: "stopped", ending: { reason: "finished" } });
    expect(Object.keys(runner.timeline)).toEqual([
      "queued",
      "observed",
      "registered",
      "started",
      "ready",
      "assigned",
      "first_step",
      "finished",
      "destroyed",
    ]);
  });

  it("runs three at once in two pools whose labels overlap; one fails", async () => {
    // Runners take the oldest job that fits them, so what only one pool can serve comes first.
    const run = await world.push({
      small: { "runs-on": ["e2e", "small"], steps: [{ run: "echo small" }] },
      large: { "runs-on": "large", steps: [{ run: "echo large; exit 3" }, { run: "echo never" }] },
      any: [{ run: "echo any" }],
    });
    expect(await world.finished(run)).toEqual({ small: "success", large: "failure", any: "success" });
    const runners = await Promise.all(["small", "large", "any"].map((job) => world.closedRunner(run, job)));
    expect(new Set(runners.map(({ vm_id }) => vm_id)).size).toBe(3);
    expect(runners.map(({ pool }) => pool)).toEqual(["small", "large", "small"]);
    expect(runners.map(({ result }) => result)).toEqual(["success", "failure", "success"]);
    const times = runners.map(({ timeline }) => [timeline["started"] ?? "", timeline["finished"] ?? ""] as const);
    const lastStart =
      times
        .map(([started]) => started)
        .toSorted()
        .at(-1) ?? "";
    for (const [, finished] of times) expect(lastStart < finished).toBe(true);
    expect(world.log(run, "large")).toMatch(/exit code 3/);
    expect(world.log(run, "large").split("\n")).not.toContain("never");
  });
});

describe("limits", () => {
  it("end a job that hangs: the engine's, and the host's where the job does not heed the engine", async () => {
    const hang = { run: "trap '' TERM; echo hanging; sleep 600 & wait; sleep 600" };
    const run = await world.push({
      engine: { "runs-on": "engine-limit", steps: [hang] },
      host: { "runs-on": "job-limit", steps: [hang, { if: "always()", ...hang }] },
    });
    const host = await world.closed("the end of the runner of job host", ({ pool }) => pool === "job-limit");
    expect(host).toMatchObject({
      status: "failed",
      ending: { reason: "job-timeout", detail: "the job did not end within 8 s" },
    });
    const took = Date.parse(host.timeline["destroyed"] ?? "") - Date.parse(host.timeline["assigned"] ?? "");
    expect(took).toBeGreaterThan(8_000);
    expect(took).toBeLessThan(20_000);
    const engine = await world.closed("the end of the runner of job engine", ({ pool }) => pool === "engine-limit");
    expect(engine).toMatchObject({ result: "failure", ending: { reason: "finished" } });
    expect(world.log(run, "engine")).toContain("longer than its limit of 3 seconds");
    // Of the other the host tells the forge.
    expect(await world.finished(run)).toEqual({ engine: "failure", host: "failure" });
    expect(run.job("host").attempts).toMatchObject([{ endedBy: "runner", logClosed: true }]);
    expect(world.log(run, "host").split("\n").at(-1)).toMatch(
      /^::error::Fireteact: .* the job did not end within 8 s$/,
    );
  });

  it("end a guest that never reports, and say so", async () => {
    const run = await world.push({ build: { "runs-on": "silent", steps: [{ run: "echo never" }] } });
    const open = await world.runner("the silent guest", ({ pool, phase }) => pool === "silent" && phase === "started");
    await world.daemon.until("its console", async () =>
      (await world.daemon.logs(open.id)).console.includes("this guest says nothing") ? true : undefined,
    );
    const runner = await world.closed("the end of the silent guest", ({ id }) => id === open.id);
    world.forge.cancelRun(run.id);
    expect(runner).toMatchObject({ status: "failed", ending: { reason: "boot-timeout" } });
    expect(runner.ending?.detail).toMatch(/^the sandbox did not report within (6|30) s$/);
    expect(run.job("build").attempts).toEqual([]);
  });
});
