import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { type Daemon, type Host, openHost } from "../../support/host.ts";
import { remainsOf } from "../../support/remains.ts";

/** A daemon that may open few files. */
const ENOUGH = () => AbortSignal.timeout(60_000);
const goFile = (host: Host) => join(host.directory, "go");
const pidOf = (daemon: Daemon) => daemon.process.pid ?? 0;
const openFiles = (daemon: Daemon) => readdirSync(`/proc/${pidOf(daemon)}/fd`).length;
const limit = (daemon: Daemon, soft: number) => exec("prlimit", [`--pid=${pidOf(daemon)}`, `--nofile=${soft}:`]);

async function push(host: Host, name: string) {
  const step = `until [ -e ${goFile(host)} ]; do sleep 0.1; done; echo done`;
  const yaml = `on: push\njobs:\n  ${name}:\n    runs-on: linux\n    steps:\n      - run: ${JSON.stringify(step)}\n`;
  const run = await host.forge.pushWorkflow({ repository: "org/app", yaml });
  return { run, runs: () => run.job(name).status === "running" };
}

describe("the limit of open files", { timeout: 180_000 }, () => {
  it("reached while jobs run: they go on, nothing crashes or leaks, and all is well once it is raised", async () => {
    await using host = await openHost();
    const daemon = await host.serving();
    const first = await push(host, "one");
    await host.until("it runs", first.runs);
    const before = openFiles(daemon);
    // Not one file more than are open now.
    await limit(daemon, before);
    const second = await push(host, "two");
    await host.until("it is noticed", () => host.output().includes("EMFILE"));
    const noticed = performance.now();
    await host.until("it goes on for a while", () => performance.now() - noticed > 5_000);
    expect(daemon.ended()).toBe(false);
    expect(second.runs()).toBe(false);
    expect(host.forge.runners("all").length).toBeLessThan(8);

    await limit(daemon, 1_024);
    writeFileSync(goFile(host), "");
    expect(await first.run.finished(ENOUGH())).toEqual({ one: "success" });
    expect(await second.run.finished(ENOUGH())).toEqual({ two: "success" });
    await host.until("no record is left", async () => (await daemon.runners()).length === 0);
    await host.until("no row is left", () => host.forge.runners("existing").length === 0);
    await expect.poll(() => remainsOf(host.places, host.daemons()), { timeout: 20_000 }).toEqual([]);
    await expect.poll(() => openFiles(daemon), { timeout: 20_000 }).toBeLessThanOrEqual(before);
    expect(host.forge.jobs().map(({ attempts }) => attempts.map(({ endedBy }) => endedBy))).toEqual([
      ["runner"],
      ["runner"],
    ]);
  });

  it("too low to start with: refused with one clear line", async () => {
    await using host = await openHost({
      command: (config) => ["-e", LIMITED, "--", join(import.meta.dirname, "../../../src/main.ts"), config],
    });
    const daemon = host.daemon();
    await host.until("it ends", () => daemon.ended());
    expect(await daemon.exit).toMatchObject({ code: 1 });
    expect(daemon.output()).toMatch(/at most 64 files/);
    expect(daemon.output()).toMatch(/LimitNOFILE/);
    expect(daemon.output()).not.toMatch(/^\s+at /m);
  });
});

/** Replaces itself by the daemon, with a hard limit of 64 files. */
const LIMITED = `
const [main, config] = process.argv.slice(1);
process.execve("/usr/bin/prlimit", ["prlimit", "--nofile=64", process.execPath, main, "serve", "-c", config], process.env);
`;
