import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placesOf } from "../../../src/sandbox/microvm/places.ts";
import {
  readExit,
  readRecord,
  recordFile,
  type SandboxRecord,
  writeRecord,
} from "../../../src/sandbox/microvm/record.ts";
import { exitOf } from "../../../src/sandbox/microvm/watch.ts";
import { contextOf, fakeSandboxes, hexOf, specOf, temporaryPlaces } from "../../support/sandboxes.ts";

const record: SandboxRecord = {
  version: 1,
  driver: "qemu",
  hex: hexOf(1),
  pool: "p",
  runnerId: `p-${hexOf(1)}`,
  memoryMib: 512,
  vcpus: 1,
  since: 12.5,
  boot: "boot",
};

describe("the record of a sandbox", () => {
  it("is read as it was written", async () => {
    const { root } = await temporaryPlaces();
    const full = {
      ...record,
      uid: 1_900_000_001,
      address: "10.201.0.9",
      process: { pid: 77, start: 12, boot: "boot" },
    };
    writeRecord(root, full);
    expect(readRecord(root)).toEqual(full);
    writeRecord(root, { ...full, uid: undefined, process: undefined });
    expect(readRecord(root)).toEqual({ ...record, address: "10.201.0.9" });
  });

  it.each([
    ["nothing", ""],
    ["half of it", JSON.stringify(record).slice(0, 40)],
    ["another kind of thing", "[1,2]"],
    ["a newer version", JSON.stringify({ ...record, version: 2 })],
    ["the user root, whose processes would be ended", JSON.stringify({ ...record, uid: 0 })],
    ["a user of the host", JSON.stringify({ ...record, uid: 999 })],
    ["the first process", JSON.stringify({ ...record, process: { pid: 1, start: 0, boot: "b" } })],
    ["a group instead of a process", JSON.stringify({ ...record, process: { pid: -1, start: 0, boot: "b" } })],
    ["a path for a name", JSON.stringify({ ...record, hex: "../../../../etc/passwd00" })],
    ["words for an address", JSON.stringify({ ...record, address: "$(reboot)" })],
    ["more than a record can have", `{"version":1,"pool":"${"x".repeat(70_000)}"}`],
  ])("is damaged when it holds %s", async (_, text) => {
    const { root } = await temporaryPlaces();
    writeFileSync(recordFile(root), text);
    expect(readRecord(root)).toBe("damaged");
  });

  it("is never more than damaged, whatever the file holds", async () => {
    const { root } = await temporaryPlaces();
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        writeFileSync(recordFile(root), text);
        expect(readRecord(root)).toBe("damaged");
      }),
      { numRuns: 200 },
    );
  });

  it("is absent where there is none, or no directory, or a file for a directory", async () => {
    const { root } = await temporaryPlaces();
    writeFileSync(join(root, "file"), "");
    expect([root, join(root, "none"), join(root, "file")].map((path) => readRecord(path))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe("the recorded end", () => {
  it.each([
    ['{"status":0}', 0],
    ['{"status":137}', 137],
    ['{"status":-1}', 255],
    ['{"status":"0"}', 255],
    ["garbage", 255],
  ])("%s is status %i", async (text, status) => {
    const { root } = await temporaryPlaces();
    writeFileSync(join(root, "exit.json"), text);
    expect(readExit(root)?.status).toBe(status);
  });

  it("of a directory that is gone is an end too", () => {
    expect(exitOf("/no/such/sandbox")).toMatchObject({ code: null, signal: null, reason: "it was removed" });
  });
});

describe("listing without a store", () => {
  it("shows what is half made as partial, leaves other drivers' and other hosts' alone, and ignores the rest", async () => {
    const { sandboxes, places, network } = await fakeSandboxes();
    sandboxes.begin(specOf(hexOf(1)));
    const damaged = sandboxes.begin(specOf(hexOf(2)));
    writeFileSync(recordFile(damaged.directory), "{");
    const foreign = sandboxes.begin(specOf(hexOf(3)));
    writeRecord(foreign.directory, { ...record, hex: hexOf(3), driver: "firecracker" });
    mkdirSync(sandboxes.places(hexOf(3)).disks, { recursive: true });
    mkdirSync(sandboxes.places(hexOf(4)).disks, { recursive: true });
    network.list = async () => [hexOf(5), hexOf(3)];
    sandboxes.begin(specOf(`fedcba${hexOf(6).slice(6)}`));
    mkdirSync(join(places.run, "sandboxes", "lost+found"));
    symlinkSync("/etc", join(places.run, "sandboxes", hexOf(7)));

    const found = await sandboxes.list();
    expect(found.map(({ hex, state }) => [hex, state]).toSorted((a, b) => (a[0]! < b[0]! ? -1 : 1))).toEqual(
      [1, 2, 4, 5].map((number) => [hexOf(number), "partial"]),
    );
    network.list = async () => [];
    for (const { hex } of found) await sandboxes.remove(hex, contextOf());
    expect(await sandboxes.list()).toEqual([]);
    expect(readRecord(foreign.directory)).toMatchObject({ driver: "firecracker" });
  });

  it("sweeps what was being made or removed when its process died", async () => {
    const { sandboxes, places } = await fakeSandboxes();
    sandboxes.begin(specOf(hexOf(1)));
    const hidden = [`.${hexOf(2)}.new`, `.${hexOf(3)}.gone`];
    for (const name of hidden) mkdirSync(join(places.run, "sandboxes", name, "vm"), { recursive: true });
    await sandboxes.sweep();
    expect(await sandboxes.list()).toMatchObject([{ hex: hexOf(1) }]);
    for (const name of hidden) expect(() => mkdirSync(join(places.run, "sandboxes", name))).not.toThrow();
  });

  it("refuses a name that is none, and a directory too deep for sockets", async () => {
    const { sandboxes } = await fakeSandboxes();
    for (const name of ["", "../x", hexOf(1).toUpperCase(), `${hexOf(1)}0`]) {
      expect(() => sandboxes.places(name)).toThrow(/24 hexadecimal digits/);
    }

    const deep = { state: "/s", run: `/run/${"d".repeat(80)}` };
    expect(() => placesOf(deep, hexOf(1))).toThrow(/more than 107 bytes/);
  });
});
