import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import type { Settings } from "../../../src/core/settings.ts";
import { capacity, readSpace, watchSpace } from "../../../src/serve/capacity.ts";

const settings = (host: Settings["host"] = {}): Settings =>
  ({ host, network: { subnet: "10.201.0.0/24", dns: [] } }) as unknown as Settings;
const space = (freeMib: number, usedMib = 0) => ({ directory: "/d", freeMib, usedMib });

function temporaryPlaces() {
  const root = mkdtempSync(join(tmpdir(), "fireteact-capacity-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  return { state: join(root, "state"), run: join(root, "run") };
}

describe("the host's capacity", () => {
  it("counts four times what is free and what guests' disks have already, but for what is kept", () => {
    expect(capacity(settings(), space(1_512, 1_000)).disk).toEqual({ mib: 8_000, detail: "1512 MiB are free in /d" });
  });

  it("is what the configuration says, until the disk is full", () => {
    const given = settings({ memoryMib: 7, vcpus: 3, diskMib: 77 });
    expect(capacity(given, space(600))).toMatchObject({ memoryMib: 7, vcpus: 3, disk: { mib: 77 }, addresses: 253 });
    expect(capacity(given, space(511)).disk).toEqual({
      mib: -1,
      detail: "511 MiB are free in /d, and 512 MiB are kept free",
    });
  });

  it("is none where the disk cannot be looked at", () => {
    expect(capacity(settings(), new Error("EIO")).disk).toEqual({
      mib: -1,
      detail: "its free space cannot be read: EIO",
    });
  });

  it("looks at the file system of the scratch disks, which need not be there yet, and counts blocks", () => {
    const places = temporaryPlaces();
    const { bavail, bsize } = statfsSync(tmpdir());
    const empty = readSpace(places);
    expect(empty).toMatchObject({ directory: `${places.state}/disks`, usedMib: 0 });
    expect(empty instanceof Error ? 0 : empty.freeMib).toBeGreaterThan((bavail * bsize) / 2 ** 21);
    const disk = join(places.state, "disks", "ab".repeat(12));
    mkdirSync(disk, { recursive: true });
    writeFileSync(join(disk, "scratch.ext4"), Buffer.alloc(3 * 2 ** 20, 1));
    writeFileSync(join(places.state, "disks", "pristine"), Buffer.alloc(2 ** 20, 1));
    expect(readSpace(places)).toMatchObject({ usedMib: 3 });
  });

  it("asks the file system every other second at most", () => {
    const places = temporaryPlaces();
    let now = 0;
    const clock: Clock = { ...systemClock, uptime: () => now };
    const ask = watchSpace(places, clock);
    const first = ask();
    now = 1_999;
    expect(ask()).toBe(first);
    now = 2_000;
    expect(ask()).not.toBe(first);
  });

  it("asks the more seldom the longer it takes", () => {
    const places = temporaryPlaces();
    let [now, takes] = [0, 20];
    const clock: Clock = {
      ...systemClock,
      uptime: () => {
        now += takes;
        return now - takes;
      },
    };
    const ask = watchSpace(places, clock);
    const first = ask();
    takes = 0;
    now = 19_999;
    expect(ask()).toBe(first);
    now = 20_000;
    expect(ask()).not.toBe(first);
  });
});
