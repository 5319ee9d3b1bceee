import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { identify, isAlive, processes } from "../../../src/base/process.ts";
import { readConsole } from "../../../src/sandbox/microvm/console.ts";
import { readRecord, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { watchExit } from "../../../src/sandbox/microvm/watch.ts";
import {
  contextOf,
  exitOfSandbox,
  fakeMonitor,
  fakeSandboxes,
  hexOf,
  sessionOf,
  until,
} from "../../support/sandboxes.ts";

const HEX = hexOf(1);
const processOf = (directory: string) => (readRecord(directory) as SandboxRecord).process!;

describe("the end of a monitor", () => {
  it("is recorded with its status and its last words", async () => {
    const { start, sandboxes } = await fakeSandboxes();
    const { directory } = await start(HEX, [fakeMonitor("crashes")]);
    const exit = await exitOfSandbox(directory);
    expect(exit).toMatchObject({ code: 3, signal: null });
    expect(Math.abs(exit.at - Date.now())).toBeLessThan(5_000);
    expect(await readConsole(directory, 1000)).toBe("no such machine\n");
    expect(await sandboxes.list()).toMatchObject([{ hex: HEX, pool: "p", state: "exited", exit: { code: 3 } }]);
  });

  it("by a signal names the signal", async () => {
    const { start } = await fakeSandboxes();
    const { directory } = await start(HEX, [fakeMonitor("faults")]);
    expect(await exitOfSandbox(directory)).toMatchObject({ code: null, signal: "SIGSEGV" });
  });

  it("by a panic of the guest's kernel, which looks like a clean end, tells of the panic", async () => {
    const { start } = await fakeSandboxes();
    const said = "[    1.5] Kernel panic - not syncing: \\033[31mAttempted to kill init!\\r\\nrebooting";
    const { directory } = await start(HEX, ["/bin/sh", "-c", `printf '${said}' >&3`]);
    const reason = "the guest's kernel panicked: Attempted to kill init!";
    expect(await exitOfSandbox(directory)).toMatchObject({ code: 0, reason });
    const { directory: other } = await start(hexOf(2), ["/bin/sh", "-c", "echo all is well >&3"]);
    expect((await exitOfSandbox(other)).reason).toBeUndefined();
  });

  it("is status 127 for a program that is not there, whose name is in the console", async () => {
    const { start } = await fakeSandboxes();
    const { directory } = await start(HEX, ["no-such-monitor"]);
    expect(await exitOfSandbox(directory)).toMatchObject({ code: 127 });
    expect(await readConsole(directory, 1000)).toContain("no-such-monitor");
  });

  it("is told to everybody who watches, once, also afterwards, and not to who stopped", async () => {
    const { start, places } = await fakeSandboxes();
    const told = join(places.root, "told");
    const { directory } = await start(HEX, [fakeMonitor("until-told"), told]);
    const calls: string[] = [];
    watchExit(directory, systemClock, () => calls.push("a"));
    watchExit(directory, systemClock, () => calls.push("b"));
    const stop = watchExit(directory, systemClock, () => calls.push("stopped"));
    stop();
    writeFileSync(told, "0\n");
    await until(() => calls.length === 2);
    await exitOfSandbox(directory);
    await systemClock.sleep(50);
    expect(calls.toSorted()).toEqual(["a", "b"]);
  });

  it("is noticed when the shim is killed: the monitor is left alone, and its own end is seen", async () => {
    const { start, places, sandboxes } = await fakeSandboxes();
    const told = join(places.root, "told");
    const { directory } = await start(HEX, [fakeMonitor("until-told"), told]);
    await until(async () => (await readConsole(directory, 100)) === "running\n");
    process.kill(processOf(directory).pid, "SIGKILL");
    await until(() => !isAlive(processOf(directory)));
    expect(await sandboxes.list()).toMatchObject([{ state: "running" }]);
    writeFileSync(told, "0\n");
    expect(await exitOfSandbox(directory)).toMatchObject({ code: null, reason: expect.stringContaining("no status") });
  });
});

describe("the console", () => {
  it("keeps the last part of a flood within its bytes, and the monitor goes on", { timeout: 30_000 }, async () => {
    const { start, places } = await fakeSandboxes();
    const told = join(places.root, "told");
    const limit = 64 * 1024;
    const { directory } = await start(HEX, [fakeMonitor("floods"), told], limit);
    const size = () =>
      readdirSync(join(directory, "console"))
        .filter((name) => name !== "pipe")
        .reduce(
          (sum, name) => sum + (statSync(join(directory, "console", name), { throwIfNoEntry: false })?.size ?? 0),
          0,
        );
    await until(() => existsSync(join(directory, "console/old")));
    let largest = 0;
    for (const end = systemClock.uptime() + 2_500; systemClock.uptime() < end; await systemClock.sleep(5)) {
      largest = Math.max(largest, size());
    }
    expect(largest).toBeGreaterThan(limit / 4);
    expect(largest).toBeLessThanOrEqual(limit);
    writeFileSync(told, "0\n");
    expect(await exitOfSandbox(directory)).toMatchObject({ code: 0 });
    const text = await readConsole(directory, 1_000_000);
    expect(text.length).toBeLessThanOrEqual(limit);
    expect(await readConsole(directory, 10)).toHaveLength(10);
  });
});

describe("a starter that dies", () => {
  const launchAndDie = async (root: string, when: "before" | "after", command: string[]) => {
    const script = fakeMonitor("launch.ts");
    const child = spawn(process.execPath, [script, root, HEX, when, ...command], { stdio: "inherit" });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGKILL");
  };

  it("leaves a running monitor, which the next process finds, watches and removes", async () => {
    const { places, sandboxes } = await fakeSandboxes();
    const told = join(places.root, "told");
    await launchAndDie(places.root, "after", [fakeMonitor("until-told"), told]);
    const { directory } = sandboxes.places(HEX);
    await until(async () => (await readConsole(directory, 100)) === "running\n");
    expect(await sandboxes.list()).toMatchObject([{ hex: HEX, runnerId: `p-${HEX}`, state: "running" }]);
    const { pid } = processOf(directory);
    const exit = exitOfSandbox(directory);
    writeFileSync(told, "5\n");
    expect(await exit).toMatchObject({ code: 5 });
    await sandboxes.remove(HEX, contextOf());
    expect(sessionOf(pid)).toEqual([]);
    expect(existsSync(directory)).toBe(false);
  });

  it("before the monitor is on record leaves none running", async () => {
    const { places, sandboxes } = await fakeSandboxes();
    const mark = join(places.root, "mark");
    await launchAndDie(places.root, "before", [fakeMonitor("marks"), mark]);
    expect(await sandboxes.list()).toMatchObject([{ hex: HEX, state: "partial" }]);
    const { directory } = sandboxes.places(HEX);
    await sandboxes.remove(HEX, contextOf());
    await systemClock.sleep(200);
    expect(existsSync(mark)).toBe(false);
    expect(existsSync(directory)).toBe(false);
  });
});

describe("removing", () => {
  it("ends a monitor that ignores signals, with its children", { timeout: 20_000 }, async () => {
    const { start, sandboxes, released } = await fakeSandboxes();
    const { directory } = await start(HEX, [fakeMonitor("ignores-signals")]);
    const { pid } = processOf(directory);
    await until(() => sessionOf(pid).length >= 4);
    await sandboxes.remove(HEX, contextOf());
    expect(sessionOf(pid)).toEqual([]);
    expect(existsSync(directory)).toBe(false);
    expect(released).toEqual([HEX]);
  });

  it("lets the monitor end by itself, and twice is success", async () => {
    const { start, sandboxes, places } = await fakeSandboxes();
    const { directory } = await start(HEX, [fakeMonitor("until-told"), join(places.root, "never")]);
    await until(async () => (await readConsole(directory, 100)) === "running\n");
    const exit = exitOfSandbox(directory);
    await sandboxes.remove(HEX, contextOf());
    await sandboxes.remove(HEX, contextOf());
    expect(await exit).toMatchObject({ signal: null });
    expect(await sandboxes.list()).toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0)("finds a monitor that left its session by its user", async () => {
    const { start, sandboxes } = await fakeSandboxes();
    const uid = 82_345;
    const as = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--"];
    const { directory } = await start(HEX, [...as, "sh", fakeMonitor("leaves-session")]);
    sandboxes.update(HEX, { uid });
    const shim = processOf(directory).pid;
    const ofUser = () => Array.from(processes()).filter((view) => view.uid === uid);
    await until(() => ofUser().length === 1 && ofUser().every((view) => view.session !== shim));
    await sandboxes.remove(HEX, contextOf());
    expect(ofUser()).toEqual([]);
  });

  it("never touches a process that got the number later", async () => {
    const { sandboxes } = await fakeSandboxes();
    const other = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
    onTestFinished(() => void other.kill("SIGKILL"));
    await once(other, "spawn");
    const identity = identify(other.pid!)!;
    sandboxes.begin({ hex: HEX, runnerId: "r", pool: "p", memoryMib: 1, vcpus: 1, hostname: "h", metadata: {} });
    for (const stale of [
      { ...identity, start: identity.start - 1 },
      { ...identity, boot: "another-boot" },
    ]) {
      sandboxes.update(HEX, { process: stale });
      expect(await sandboxes.list()).toMatchObject([{ state: "exited" }]);
    }
    await sandboxes.remove(HEX, contextOf());
    expect(isAlive(identity)).toBe(true);
    expect(await sandboxes.list()).toEqual([]);
  });
});
