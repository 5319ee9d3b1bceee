import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { kill } from "../../src/base/process.ts";
import { PLACES } from "../support/e2e/host.ts";
import { rootInitrd } from "../support/e2e/initrd.ts";
import { buildTestImage } from "../support/e2e/program.ts";
import { type Usage, usageOf } from "../support/e2e/usage.ts";
import { startWorld, type World } from "../support/e2e/world.ts";
import { monitorsBelow } from "../support/remains.ts";

let world: World;
const MIB = 2 ** 20;

beforeAll(async () => {
  const image = await buildTestImage();
  world = await startWorld({
    image,
    // Looked at only when a test asks for it.
    forge: { timers: { zombieMs: 1, checkEveryMs: 3_600_000 } },
    pools: [
      { name: "user", limits: { engine: "25s", job: "40s" } },
      {
        name: "root",
        runner: { labels: ["root"] },
        qemu: { kernelPath: image.kernel, initrdPath: rootInitrd(image) },
        // What waits to be told to the forge when the engine ends the job takes an emulated guest a while.
        limits: { engine: "25s", job: "3m" },
      },
    ],
  });
});
afterEach(() => world.settled());
afterAll(() => world?.close());

describe("a job that floods", () => {
  it("its log and the console takes a bounded part of disk and of the daemon's memory", async () => {
    const flood = 'yes "a line for the console" >/dev/hvc0 & yes "$(printf "%02000d" 7)"';
    const run = await world.push({ flood: { "runs-on": "root", steps: [{ run: flood }] } });
    const runner = await world.runner("the job's runner", ({ status }) => status === "busy");
    const most: Usage = { console: 0, log: 0, daemon: 0 };
    await world.daemon.until("the end of the flood", () => {
      const now = usageOf(runner.vm_id ?? "", world.daemon.pid);
      for (const key of ["console", "log", "daemon"] as const) most[key] = Math.max(most[key], now[key]);
      return run.job("flood").status === "running" ? undefined : true;
    });
    expect(await world.finished(run)).toEqual({ flood: "failure" });
    expect(world.log(run, "flood")).toContain("longer than its limit of 25 seconds");
    // Control: it did flood.
    expect(most.console).toBeGreaterThan(MIB / 4);
    expect(most.console).toBeLessThanOrEqual(MIB);
    expect(most.log).toBeGreaterThan(MIB / 4);
    expect(most.log).toBeLessThan(4 * MIB + 1024);
    expect(most.daemon).toBeLessThan(300 * MIB);
    const { engine } = await world.daemon.logs(runner.id);
    expect(engine.length).toBeLessThanOrEqual(65_536);
    expect(await world.closedRunner(run, "flood")).toMatchObject({ result: "failure", ending: { reason: "finished" } });
  });
});

describe("a monitor that is killed under its job", () => {
  it("fails the job in the forge at once, and the reason is the last line of its log", async () => {
    const run = await world.push({ killed: [{ run: "echo it runs; sleep 600" }] });
    const lines = () => (run.job("killed").attempts[0]?.log ?? []).map(({ content }) => content);
    await world.daemon.until("the job's first line", () => (lines().includes("it runs") ? true : undefined));
    const runner = await world.runner("the job's runner", ({ status }) => status === "busy");
    const monitors = monitorsBelow(join(PLACES.run, "sandboxes", runner.vm_id ?? ""), [world.daemon.pid]);
    expect(monitors.length).toBeGreaterThan(0);
    const killedAt = performance.now();
    for (const pid of monitors) kill(pid, "SIGKILL");
    expect(await world.finished(run, 30_000)).toEqual({ killed: "failure" });
    expect(performance.now() - killedAt).toBeLessThan(20_000);
    expect(run.job("killed").attempts).toMatchObject([{ endedBy: "runner", logClosed: true }]);
    expect(lines().at(-1)).toContain(`the runner ${runner.name} ended before this job did: the sandbox ended`);
    const closed = await world.closedRunner(run, "killed");
    expect(closed).toMatchObject({ ending: { reason: "sandbox-exited" }, job_outcome: { state: "failed" } });
  });
});

describe("a guest whose kernel panics under its job", () => {
  it("fails the job at once; record, log and console say why, although the monitor ended with 0", async () => {
    const panic = { "runs-on": "root", steps: [{ run: "echo c >/proc/sysrq-trigger; sleep 600" }] };
    const run = await world.push({ panic });
    expect(await world.finished(run)).toEqual({ panic: "failure" });
    const closed = await world.closedRunner(run, "panic");
    expect(closed).toMatchObject({ ending: { reason: "sandbox-exited" } });
    expect(closed.ending?.detail).toMatch(/the guest's kernel panicked: sysrq/i);
    expect(world.log(run, "panic")).toMatch(/the guest's kernel panicked: sysrq/i);
    expect((await world.daemon.logs(closed.id)).engine).toContain("Kernel panic");
  });
});

describe("a job that takes all memory and all processes", () => {
  it("ends by its limit at the latest, and the daemon serves on", async () => {
    const run = await world.push({
      hog: [
        {
          name: "memory",
          "continue-on-error": true,
          run: "node -e 'const all = []; for (;;) all.push(Buffer.alloc(2 ** 24, 1))'",
        },
        { name: "processes", run: "bomb() { bomb | bomb & }; bomb; sleep 600" },
      ],
    });
    const runner = await world.runner("the job's runner", ({ status }) => status === "busy");
    const closed = await world.closed("its end", ({ id }) => id === runner.id);
    expect(closed.ending?.reason).toMatch(/^(finished|job-timeout|engine-failed|sandbox-exited)$/);
    const { assigned = "", destroyed = "" } = closed.timeline;
    expect(Date.parse(destroyed) - Date.parse(assigned)).toBeLessThan(70_000);
    world.forge.runTimers();
    expect(await world.finished(run)).toEqual({ hog: "failure" });
    const { body } = await world.daemon.call("GET", "/health");
    expect(JSON.parse(body)).toMatchObject({ status: "healthy" });
  });
});
