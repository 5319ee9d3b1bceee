import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import type { WaitReason } from "../../../src/core/plan-types.ts";
import { type Daemon, type Host, openHost } from "../../support/host.ts";
import { remainsOf } from "../../support/remains.ts";
import { smallDisk } from "../../support/small-disk.ts";

/** Full disks under a daemon of its own, with real sandboxes of the fake driver. */
const root = process.getuid?.() === 0;
const ENOUGH = () => AbortSignal.timeout(60_000);
const goFile = (host: Host) => join(host.directory, "go");

async function push(host: Host, name: string, step = `until [ -e ${goFile(host)} ]; do sleep 0.1; done; echo done`) {
  const yaml = `on: push\njobs:\n  ${name}:\n    runs-on: linux\n    steps:\n      - run: ${JSON.stringify(step)}\n`;
  const run = await host.forge.pushWorkflow({ repository: "org/app", yaml });
  return { run, runs: () => run.job(name).status === "running" };
}

async function reasons(daemon: Daemon): Promise<WaitReason[]> {
  const { body } = await daemon.call("GET", "/api/v1/jobs");
  return (JSON.parse(body) as { jobs: WaitReason[] }).jobs;
}

/** A directory on an ordinary disk. */
function tmpState(): string {
  const path = mkdtempSync(join(tmpdir(), "fireteact-state-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const linesWith = (host: Host, text: string): number => host.output().split(text).length - 1;

async function isClear(host: Host, daemon: Daemon): Promise<void> {
  await host.until("no record is left", async () => (await daemon.runners()).length === 0);
  await host.until("no row is left", () => host.forge.runners("existing").length === 0);
  await expect.poll(() => remainsOf(host.places, host.daemons()), { timeout: 20_000 }).toEqual([]);
}

describe.skipIf(!root)("a full disk", { timeout: 180_000 }, () => {
  it("of state and scratch: jobs go on, none begins, with a reason that names the disk; all is well with space again", async () => {
    await using disk = await smallDisk(560);
    await using runDisk = await smallDisk(64);
    const places = { state: join(disk.path, "state"), run: join(runDisk.path, "run") };
    await using host = await openHost({ places });
    const daemon = await host.serving();
    const first = await push(host, "one");
    await host.until("it runs", first.runs);

    await disk.fill();
    const second = await push(host, "two");
    await host.until("the second job waits for the disk", async () =>
      (await reasons(daemon)).some(
        ({ code, detail }) => code === "host-full" && detail.includes(`0 MiB are free in ${places.state}`),
      ),
    );
    writeFileSync(goFile(host), "");
    expect(await first.run.finished(ENOUGH())).toEqual({ one: "success" });
    expect(daemon.ended()).toBe(false);
    expect(second.runs()).toBe(false);

    disk.empty();
    const freed = performance.now();
    expect(await second.run.finished(ENOUGH())).toEqual({ two: "success" });
    expect(performance.now() - freed).toBeLessThan(30_000);
    await isClear(host, daemon);
    expect(host.forge.jobs().map(({ attempts }) => attempts.map(({ endedBy }) => endedBy))).toEqual([
      ["runner"],
      ["runner"],
    ]);
    expect(linesWith(host, '"level":"error"')).toBeLessThan(10);
  });

  it("of the run directory: boots fail, back off and say why; they succeed with space again", async () => {
    await using disk = await smallDisk(4);
    await using host = await openHost({ places: { state: join(tmpState(), "state"), run: join(disk.path, "run") } });
    const daemon = await host.serving();
    await disk.fill();
    const { run } = await push(host, "one", "echo done");
    await host.until("it waits", async () => (await reasons(daemon)).some(({ detail }) => detail.includes("ENOSPC")));
    expect(host.forge.runners("all").length).toBeLessThan(5);
    disk.empty();
    expect(await run.finished(ENOUGH())).toEqual({ one: "success" });
    await isClear(host, daemon);
  });

  it("of the logs alone: jobs succeed, and one line says that their logs are lost", async () => {
    await using disk = await smallDisk(1);
    await using host = await openHost({ places: { state: join(tmpState(), "state"), run: join(tmpState(), "run") } });
    const logs = join(host.places.state, "logs");
    mkdirSync(logs, { recursive: true });
    await exec("mount", ["--bind", disk.path, logs]);
    onTestFinished(async () => void (await exec("umount", ["-l", logs])));
    await disk.fill();
    const daemon = await host.serving();
    for (const name of ["one", "two"]) {
      const { run } = await push(host, name, "for i in $(seq 200); do echo a line of output; done");
      expect(await run.finished(ENOUGH())).toEqual({ [name]: "success" });
    }
    disk.empty();
    await isClear(host, daemon);
    expect(linesWith(host, "a runner's log cannot be written")).toBe(1);
  });
});
