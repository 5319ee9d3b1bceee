import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { RootDisks } from "../../../src/image/port.ts";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import { connectQmp } from "../../../src/sandbox/qemu/qmp.ts";
import { conversation, qemuHost } from "../../support/qemu.ts";
import { contextOf, hexOf, specOf, until } from "../../support/sandboxes.ts";
import { smallDisk } from "../../support/small-disk.ts";

const HEX = hexOf(7);
const root = process.getuid?.() === 0;

/** Disks of holes, as the product's are. */
const sparse: RootDisks = {
  clone: async (_, directory) => {
    const path = join(directory, "scratch.img");
    await using file = await open(path, "wx");
    await file.truncate(32 * 2 ** 20);
    return path;
  },
};

describe.skipIf(!root)("a guest that writes while the host's disk is full", { timeout: 120_000 }, () => {
  it("stands still, and goes on from there when there is space again", async () => {
    await using disk = await smallDisk(128);
    const lines: string[] = [];
    const log = createLogger("info", { write: (line) => void lines.push(line) });
    const host = await qemuHost({ disks: sparse }, { log, spaceEvery: 200 });
    const disks = dirname(placesOf(host.places, HEX).disks);
    await mkdir(disks, { recursive: true, mode: 0o711 });
    await exec("mount", ["--bind", disk.path, disks]);
    onTestFinished(async () => void (await exec("umount", ["-l", disks])));
    await host.driver.create(specOf(HEX), contextOf());
    const guest = conversation(await host.driver.dial(HEX, AbortSignal.timeout(60_000)));
    await guest.answers();
    await disk.fill();
    guest.say("scratch 8192");
    const status = async (): Promise<unknown> => {
      const qmp = await connectQmp(placesOf(host.places, HEX).qmp, AbortSignal.timeout(10_000));
      try {
        return await qmp.execute("query-status");
      } finally {
        qmp.close();
      }
    };
    await expect.poll(status, { timeout: 30_000 }).toMatchObject({ status: "io-error" });
    expect(guest.lines).not.toContain("written");
    disk.empty();
    await until(() => guest.lines.includes("written"));
    expect(await status()).toMatchObject({ status: "running" });
    expect(lines.filter((line) => line.includes("stood still for want of disk space"))).toHaveLength(1);
  });
});
