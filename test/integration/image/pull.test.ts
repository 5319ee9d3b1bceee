import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { type Entry, GUEST_FILES, makeImage, makeIndex, tarOf } from "../../support/oci/images.ts";
import { startDouble } from "../../support/oci/registry.ts";
import { testStore } from "../../support/oci/store.ts";
import { smallDisk } from "../../support/small-disk.ts";

const { signal } = new AbortController();
const quiet = () => undefined;

const root = process.getuid?.() === 0;
if (!root) process.stderr.write("SKIPPED: only root can take images apart\n");

const GUEST = tarOf(GUEST_FILES);

/** A registry with an image of the guest's files and these layers. */
async function world(...layers: Entry[][]) {
  const registry = await startDouble();
  const image = makeImage([GUEST, ...layers.map(tarOf)]);
  registry.put("o/i", "1", image);
  const store = await testStore([registry.host]);
  const reference = `${registry.host}/o/i:1`;
  const resolve = () => store.images.resolve(reference, signal, (line) => store.said.push(line));
  return { registry, image, store, reference, resolve, [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose]() };
}

const debugfs = async (rootfs: string, request: string): Promise<string> =>
  (await exec("debugfs", ["-R", request, rootfs])).stdout;

/** What pulls leave behind them when nobody pulls. */
async function leftovers(state: string): Promise<string[]> {
  const names = await readdir(join(state, "images", "pull"), { recursive: true });
  return names.filter((name) => /work-|\.lock/.test(name));
}

describe.skipIf(!root)("a pulled image", { timeout: 120_000 }, () => {
  it.each(["gzip", "zstd", "none"] as const)("has what its layers say, packed as %s", async (compression) => {
    await using registry = await startDouble();
    const upper: Entry[] = [
      { name: "etc/", mode: 0o700, uid: 7, gid: 8 },
      { name: "etc/.wh.gone" },
      { name: "opaque/.wh..wh..opq" },
      { name: "opaque/new", content: "new" },
      { name: "sbin/tool", mode: 0o4755, content: "through the link" },
    ];
    const lower: Entry[] = [
      { name: "etc/gone", content: "x" },
      { name: "etc/stays", uid: 1001, gid: 121, mode: 0o640, content: "y".repeat(200_000), mtime: 1_600_000_000 },
      { name: "opaque/old", content: "old" },
      {
        name: "one",
        content: "one",
        xattrs: [
          ["user.mark", "of one"],
          ["trusted.overlay.opaque", "y"],
        ],
      },
      { name: "two", type: "link", target: "/one" },
      { name: `${"long/".repeat(30)}\xff name`, content: "bytes" },
      { name: "dev/null", type: "char", major: 1, minor: 3, mode: 0o666 },
      { name: "pipe", type: "fifo", mode: 0o600 },
      { name: "link", type: "symlink", target: "../../../outside" },
    ];
    registry.put("o/i", "1", makeImage([GUEST, tarOf(lower), tarOf(upper)], { compression }));
    const store = await testStore([registry.host]);
    const { rootfs } = await store.images.resolve(`${registry.host}/o/i:1`, signal, quiet);
    const look = (request: string) => debugfs(rootfs, request);

    expect(await look("stat /etc")).toMatch(/Type: directory\s+Mode:\s+0700[\s\S]*User:\s+7\s+Group:\s+8/);
    expect(await look("ls -p /etc")).not.toContain("gone");
    expect(await look("stat /etc/stays")).toMatch(/Mode:\s+0640[\s\S]*User:\s+1001\s+Group:\s+121[\s\S]*Size: 200000/);
    expect(await look("stat /etc/stays")).toContain("mtime: 0x5f5e1000");
    expect(await look("ls -p /opaque")).toMatch(/\/new\//);
    expect(await look("ls -p /opaque")).not.toContain("old");
    expect(await look("stat /one")).toMatch(/Links: 2[\s\S]*user.mark \(6\) = "of one"/);
    expect(await look("stat /one")).not.toContain("overlay");
    expect(await look("cat /two")).toBe("one");
    expect(await look("stat /usr/sbin/tool")).toMatch(/Mode:\s+04755/);
    expect(await look("stat /dev/null")).toMatch(/Type: character special\s+Mode:\s+0666[\s\S]*01:03/);
    expect(await look("stat /pipe")).toMatch(/Type: FIFO/);
    expect(await look("stat /link")).toContain('Fast link dest: "../../../outside"');
    expect(await look(`ls -p /${"long/".repeat(30)}`)).toMatch(/\/\d+\/100644\/0\/0\/.* name\/5\//);
    await exec("e2fsck", ["-fn", rootfs]);
    expect(await leftovers(store.places.state)).toEqual([]);
  });

  it("is pulled once for all who want it at the same time, and then no more", async () => {
    await using host = await world([{ name: "x", content: "x" }]);
    const other = host.store.again();
    const images = await Promise.all([host.resolve(), host.resolve(), other.resolve(host.reference, signal, quiet)]);
    expect(new Set(images.map(({ digest }) => digest)).size).toBe(1);
    const blobs = host.registry.requests.filter((request) => request.includes("/blobs/"));
    expect(blobs.length).toBe(host.image.blobs.size);
    const before = host.registry.requests.length;
    await host.resolve();
    await host.store.again().resolve(host.reference, signal, quiet);
    expect(host.registry.requests.length).toBe(before);
  });

  it("shares its layers, and with the same content all of itself, with other references", async () => {
    await using host = await world([{ name: "x", content: "x" }]);
    const first = await host.resolve();
    host.registry.put("o/i", "2", host.image);
    host.registry.put("o/i", "3", makeImage([GUEST, tarOf([{ name: "other" }])]));
    const second = await host.store.images.resolve(`${host.registry.host}/o/i:2`, signal, quiet);
    expect(second).toEqual(first);
    const before = host.registry.requests.length;
    await host.store.images.resolve(`${host.registry.host}/o/i@${host.image.digest}`, signal, quiet);
    await host.store.images.resolve(`${host.registry.host}/o/i:3`, signal, quiet);
    const asked = host.registry.requests.slice(before).filter((request) => request.includes("/blobs/"));
    // Its configuration and the one layer that is new.
    expect(asked.length).toBe(2);
  });

  it("is the one for this host's architecture", async () => {
    await using host = await world();
    const arm = makeImage([tarOf([{ name: "arm" }])], { architecture: "arm64" });
    const index = makeIndex({ arm64: arm, amd64: host.image });
    host.registry.put("o/i", "arm", arm);
    host.registry.putManifest("o/i", "both", index.manifest);
    host.registry.putManifest("o/i", "foreign", makeIndex({ arm64: arm, s390x: arm }).manifest);
    const at = (tag: string) => host.store.images.resolve(`${host.registry.host}/o/i:${tag}`, signal, quiet);
    expect(await at("both")).toEqual(await at("1"));
    const before = host.registry.requests.length;
    const wrong = { code: "IMAGE_ARCHITECTURE", hint: expect.stringContaining("--platform linux/amd64") };
    await expect(at("arm")).rejects.toMatchObject({ ...wrong, message: expect.stringContaining("is for linux/arm64") });
    // Known before any layer was fetched.
    expect(host.registry.requests.length - before).toBe(2);
    await expect(at("foreign")).rejects.toMatchObject({
      ...wrong,
      message: expect.stringContaining("linux/arm64, linux/s390x"),
    });
  });

  it("takes the kernel and initramfs of now without another pull", async () => {
    await using host = await world();
    const first = await host.resolve();
    host.store.boot.files = { ...host.store.boot.files, initrd: Buffer.from("a newer initrd") };
    const before = host.registry.requests.length;
    const second = await host.store.again().resolve(host.reference, signal, quiet);
    expect(second.digest).not.toBe(first.digest);
    expect(await readFile(second.initrd, "utf8")).toBe("a newer initrd");
    expect((await stat(second.rootfs)).ino).toBe((await stat(first.rootfs)).ino);
    expect(host.registry.requests.length).toBe(before);
  });

  it("is made again when its files are damaged, from what was kept of it", async () => {
    await using host = await world();
    const { rootfs } = await host.resolve();
    await writeFile(rootfs, "damaged");
    await expect(host.store.images.verify(host.reference)).rejects.toMatchObject({ code: "IMAGE_DAMAGED" });
    const before = host.registry.requests.length;
    expect((await host.resolve()).rootfs).toBe(rootfs);
    await host.store.images.verify(host.reference);
    await exec("e2fsck", ["-fn", rootfs]);
    expect(host.registry.requests.slice(before).filter((request) => request.includes("/blobs/"))).toEqual([]);
  });

  it.each([
    ["is cut short", (layer: Buffer) => layer.subarray(0, -1_600), "cut short"],
    ["is no archive", () => Buffer.from("no archive, ".repeat(100)), "no tar archive"],
    ["has a check sum that is wrong", (layer: Buffer) => layer.fill(7, 600, 610), "no tar archive, or damaged"],
  ])("is refused when a layer %s", async (_, damage, why) => {
    await using registry = await startDouble();
    registry.put("o/i", "1", makeImage([damage(tarOf([...GUEST_FILES, { name: "x", content: "y".repeat(600) }]))]));
    const store = await testStore([registry.host]);
    const pulling = store.images.resolve(`${registry.host}/o/i:1`, signal, quiet);
    await expect(pulling).rejects.toMatchObject({ code: "IMAGE_INVALID", message: expect.stringContaining(why) });
    expect(await leftovers(store.places.state)).toEqual([]);
  });

  it("is refused when compressed content ends early, or is not what the configuration says", async () => {
    await using registry = await startDouble();
    const image = makeImage([GUEST]);
    const [, layer] = [...image.blobs.values()];
    const broken = makeImage([Buffer.from(layer?.subarray(0, -20) ?? "")], { compression: "none" });
    registry.put("o/i", "short", broken);
    registry.put("o/i", "other", makeImage([GUEST], { diffIds: [`sha256:${"ab".repeat(32)}`] }));
    registry.put("o/i", "fewer", makeImage([GUEST], { diffIds: [] }));
    const store = await testStore([registry.host]);
    const at = (tag: string) => store.images.resolve(`${registry.host}/o/i:${tag}`, signal, quiet);
    await expect(at("short")).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining("ends early"),
    });
    await expect(at("other")).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining("other content"),
    });
    await expect(at("fewer")).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining("1 layers"),
    });
  });

  it("is refused when it would lead out of its place, and leaves nothing outside", async () => {
    await using host = await world([{ name: "a/../../../../escaped", content: "x" }]);
    await expect(host.resolve()).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining("leads upwards"),
    });
    expect(await leftovers(host.store.places.state)).toEqual([]);
    await using links = await world([
      { name: "out", type: "symlink", target: "/" },
      { name: "out/tmp/fireteact-escaped", content: "x" },
      { name: "up", type: "symlink", target: "../../../../../../tmp" },
      { name: "up/fireteact-escaped-too", content: "x" },
    ]);
    const { rootfs } = await links.resolve();
    expect(await debugfs(rootfs, "ls -p /tmp")).toMatch(/fireteact-escaped\/[\s\S]*fireteact-escaped-too/);
    expect((await readdir("/tmp")).filter((name) => name.startsWith("fireteact-escaped"))).toEqual([]);
  });

  it("is refused when it is a bomb", async () => {
    await using registry = await startDouble();
    // Megabytes in kilobytes.
    registry.put(
      "o/i",
      "1",
      makeImage([tarOf([...GUEST_FILES, { name: "zeros", content: Buffer.alloc(24 * 2 ** 20) }])]),
    );
    const store = await testStore([registry.host]);
    const pulling = store.images.resolve(`${registry.host}/o/i:1`, signal, quiet);
    await expect(pulling).rejects.toMatchObject({
      code: "IMAGE_TOO_LARGE",
      hint: expect.stringContaining("images.maxSizeMib"),
    });
    expect(await leftovers(store.places.state)).toEqual([]);
  });

  it("is refused without an agent", async () => {
    await using registry = await startDouble();
    registry.put("o/i", "1", makeImage([tarOf([{ name: "bin/sh", mode: 0o755 }])]));
    const store = await testStore([registry.host]);
    await expect(store.images.resolve(`${registry.host}/o/i:1`, signal, quiet)).rejects.toMatchObject({
      code: "IMAGE_NO_AGENT",
      message: expect.stringContaining("/sbin/fireteact-init"),
    });
  });

  it("leaves nothing but parts to go on from when the disk is full", async () => {
    await using disk = await smallDisk(24);
    const content = Buffer.from(Array.from({ length: 3 * 2 ** 20 }, (_, index) => (index * 2654435761) >>> 13));
    await using registry = await startDouble();
    registry.put("o/i", "1", makeImage([GUEST, tarOf([{ name: "x", content }])], { compression: "none" }));
    const store = await testStore([registry.host], { state: disk.path });
    const resolve = () => store.images.resolve(`${registry.host}/o/i:1`, signal, quiet);
    await exec("dd", ["if=/dev/zero", `of=${join(disk.path, "filler")}`, "bs=1M", "count=22"]);
    await expect(resolve()).rejects.toMatchObject({
      code: "DISK_FULL",
      hint: expect.stringContaining("goes on from it"),
    });
    expect(await leftovers(disk.path)).toEqual([]);
    const parts = (await readdir(join(disk.path, "images", "pull", "blobs"))).filter((name) => name.endsWith(".part"));
    expect(parts.length).toBe(1);
    disk.empty();
    // Enough for the download, not for the image.
    await exec("dd", ["if=/dev/zero", `of=${join(disk.path, "filler")}`, "bs=1M", "count=18"]);
    await expect(resolve()).rejects.toMatchObject({ code: "DISK_FULL" });
    expect(registry.requests.some((request) => / bytes=\d+-$/.test(request))).toBe(true);
    expect(await leftovers(disk.path)).toEqual([]);
    disk.empty();
    expect(await debugfs((await resolve()).rootfs, "stat /x")).toContain(`Size: ${3 * 2 ** 20}`);
  });
});
