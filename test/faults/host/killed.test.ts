import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { processes } from "../../../src/base/process.ts";
import type { SandboxExit } from "../../../src/core/types.ts";
import { checkCgroups } from "../../../src/sandbox/microvm/cgroups.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { readRecord, recordFile, type SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import { conversation, qemuHost } from "../../support/qemu.ts";
import {
  contextOf,
  fakeMonitor,
  fakeSandboxes,
  HOST_ID,
  hexOf,
  sessionOf,
  specOf,
  until,
} from "../../support/sandboxes.ts";

/** Monitors that something else on the host kills, and what their records say then. */
const HEX = hexOf(7);
const OTHER = hexOf(8);
const root = process.getuid?.() === 0;
const limited = root && checkCgroups("fa0175", systemClock) === undefined;
const signal = () => AbortSignal.timeout(60_000);
const monitorOf = (uid: number | undefined): number =>
  Array.from(processes()).find((view) => view.uid === uid)?.pid ?? 0;

async function runningGuest(host: Awaited<ReturnType<typeof qemuHost>>, hex: string) {
  await host.driver.create(specOf(hex), contextOf());
  const own = placesOf(host.places, hex);
  const record = readRecord(own.directory) as SandboxRecord;
  const exit = new Promise<SandboxExit>((resolve) => void host.driver.watch(hex, resolve));
  const guest = conversation(await host.driver.dial(hex, signal()));
  await guest.answers();
  return { own, record, exit, guest };
}

describe.skipIf(!root)("a monitor that is killed", { timeout: 120_000 }, () => {
  it("by anybody: the record names the signal, and no cause that nobody knows of", async () => {
    const host = await qemuHost();
    const { record, exit } = await runningGuest(host, HEX);
    process.kill(monitorOf(record.uid), "SIGKILL");
    const ended = await exit;
    expect(ended).toMatchObject({ code: null, signal: "SIGKILL" });
    expect(ended.reason).toBeUndefined();
  });

  it("because its network is gone: the record says so, and another guest goes on", async () => {
    const host = await qemuHost();
    const mine = await runningGuest(host, HEX);
    const other = await runningGuest(host, OTHER);
    host.network.lose(HEX, "its interface tap0 was deleted by another program");
    expect(await mine.exit).toMatchObject({
      signal: "SIGKILL",
      reason: "its interface tap0 was deleted by another program",
    });
    other.guest.say("echo still here");
    await until(() => other.guest.lines.includes("still here"));
    // Told of a guest that is not there, or was removed meanwhile, nothing happens.
    host.network.lose(hexOf(9), "nobody");
  });
});

describe.skipIf(!limited)("a monitor in control groups", { timeout: 120_000 }, () => {
  it("is held to its guest's memory and a little more, and leaves no group", async () => {
    const host = await qemuHost();
    const { record } = await runningGuest(host, HEX);
    const groups = record.cgroups ?? [];
    expect(groups.length).toBeGreaterThan(0);
    const membership = readFileSync(`/proc/${monitorOf(record.uid)}/cgroup`, "utf8");
    expect(membership).toContain(`/fireteact-${HOST_ID}/${HEX}`);
    const read = (name: string) => groups.map((group) => join(group, name)).find(existsSync);
    const limit = read("memory.max") ?? read("memory.limit_in_bytes") ?? "";
    expect(Number(readFileSync(limit, "utf8"))).toBe((256 + 1_536) * 2 ** 20);
    await host.driver.remove(HEX, contextOf());
    expect(groups.filter(existsSync)).toEqual([]);
  });

  it("and takes more is killed by the kernel; the record says by whom and why", async () => {
    const host = await qemuHost();
    const { record, exit, guest } = await runningGuest(host, HEX);
    const group =
      (record.cgroups ?? []).find(
        (each) => existsSync(join(each, "memory.usage_in_bytes")) || existsSync(join(each, "memory.current")),
      ) ?? "";
    const v1 = existsSync(join(group, "memory.usage_in_bytes"));
    const used = Number(readFileSync(join(group, v1 ? "memory.usage_in_bytes" : "memory.current"), "utf8"));
    writeFileSync(join(group, v1 ? "memory.limit_in_bytes" : "memory.max"), String(used + 16 * 2 ** 20));
    guest.say("memory 100");
    const ended = await exit;
    expect(ended).toMatchObject({ code: null, signal: "SIGKILL" });
    expect(ended.reason).toContain("killed by signal 9");
    expect(ended.reason).toContain("out-of-memory killer");
  });

  it("that its maker did not live to start leaves groups, which are found and removed", async () => {
    const host = await qemuHost();
    const { record, exit } = await runningGuest(host, HEX);
    const groups = record.cgroups ?? [];
    process.kill(monitorOf(record.uid), "SIGKILL");
    // Its shim writes until then into what is removed next.
    await exit;
    // All else of it is gone already, as after a boot that kept only this.
    await host.network.release(HEX);
    await rm(placesOf(host.places, HEX).directory, { recursive: true });
    await rm(placesOf(host.places, HEX).disks, { recursive: true });
    expect(await host.driver.list()).toMatchObject([{ hex: HEX, state: "partial" }]);
    await host.driver.remove(HEX, contextOf());
    expect(groups.filter(existsSync)).toEqual([]);
    expect(await host.driver.list()).toEqual([]);
  });
});

describe("a record that was damaged", () => {
  it.skipIf(!root)("does not keep a guest's processes from being ended", { timeout: 120_000 }, async () => {
    const host = await qemuHost();
    const { own, record } = await runningGuest(host, HEX);
    writeFileSync(recordFile(own.directory), "{");
    expect(await host.driver.list()).toMatchObject([{ hex: HEX, state: "partial" }]);
    await host.driver.remove(HEX, contextOf());
    expect(monitorOf(record.uid)).toBe(0);
    expect(sessionOf(record.process?.pid ?? 0)).toEqual([]);
    expect(await host.driver.list()).toEqual([]);
  });

  it("does not keep processes without a user of their own from being ended", async () => {
    const { start, sandboxes, places } = await fakeSandboxes();
    const { directory } = await start(HEX, [fakeMonitor("until-told"), join(places.root, "never")]);
    const { process: shim } = readRecord(directory) as SandboxRecord;
    await until(() => sessionOf(shim?.pid ?? 0).length > 1);
    writeFileSync(recordFile(directory), "");
    await sandboxes.remove(HEX, contextOf());
    expect(sessionOf(shim?.pid ?? 0)).toEqual([]);
    expect(existsSync(directory)).toBe(false);
  });
});
