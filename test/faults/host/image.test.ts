import { copyFile, mkdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { exec } from "../../../src/base/exec.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { Images } from "../../../src/image/port.ts";
import { describeFiles, imageDirectory, imagesDirectory, writeReference } from "../../../src/image/record.ts";
import { createImages } from "../../../src/image/store/images.ts";
import { keepDrivers } from "../../../src/serve/drivers.ts";
import { qemuHost } from "../../support/qemu.ts";
import { contextOf, hexOf, specOf } from "../../support/sandboxes.ts";

/** What happens to a host's image store, with the driver, the store and the keeper of `serve`. */
const HEX = hexOf(7);
const DIGEST = `sha256:${"ab".repeat(32)}`;
const NAMES = ["rootfs.ext4", "vmlinux", "initrd"];
const root = process.getuid?.() === 0;

async function hostWithStore() {
  let store: Images | undefined;
  const opened = (): Images => store ?? expect.unreachable();
  const images: Images = {
    resolve: (...args) => opened().resolve(...args),
    verify: (reference) => opened().verify(reference),
    isRemote: (reference) => opened().isRemote(reference),
    list: () => opened().list(),
  };
  const host = await qemuHost({ image: "default" }, { images });
  const { places, image } = host;
  store = createImages({ places });
  const directory = imageDirectory(places, DIGEST);
  await mkdir(directory, { recursive: true });
  for (const [index, from] of [image.rootfs, image.kernel, image.initrd].entries()) {
    await copyFile(from, join(directory, NAMES[index] ?? ""));
  }
  const record = {
    digest: DIGEST,
    inputs: "i",
    rootfs: "rootfs.ext4",
    rootfsType: "ext4",
    kernel: "vmlinux",
    initrd: "initrd",
    kernelVersion: "6.1",
    builtAt: 1,
    files: await describeFiles(directory, NAMES),
  };
  await writeFile(join(directory, "image.json"), JSON.stringify(record));
  await writeReference(places, "default", DIGEST);

  const log: string[] = [];
  const keeper = keepDrivers({
    drivers: new Map([["qemu", host.driver]]),
    clock: systemClock,
    log: createLogger("info", { write: (line) => void log.push(line) }),
    onReady: () => undefined,
    wake: () => undefined,
    verifyEvery: 200,
  });
  onTestFinished(() => keeper.stop());
  const state = () => keeper.state("qemu");
  await expect.poll(state, { timeout: 30_000 }).toMatchObject({ usable: true });
  const errors = () => log.filter((line) => line.includes('"level":"error"'));
  return { ...host, directory, state, errors };
}

describe.skipIf(!root)("the image store", { timeout: 120_000 }, () => {
  it.each([
    ["loses a file", (path: string) => rename(path, `${path}.away`), "is missing"],
    ["has a file cut short", (path: string) => truncate(path, 1_000), "has 1000 bytes instead of"],
    ["has a file written over", async (path: string) => writeFile(path, (await readFile(path)).fill(7)), "other"],
  ])("that %s makes the driver unusable with one clear reason, until it is whole again", async (_, damage, said) => {
    const { directory, state, errors, image, driver } = await hostWithStore();
    const rootfs = join(directory, "rootfs.ext4");
    await damage(rootfs);
    await expect.poll(state, { timeout: 10_000 }).toMatchObject({ usable: false });
    expect(state().detail).toContain(said.replace("other", "another content than was built"));
    expect(state().detail).toContain(rootfs);
    // A boot that was under way fails with the same words, and leaves nothing.
    await expect(driver.create(specOf(HEX), contextOf())).rejects.toThrow(state().detail);
    expect(await driver.list()).toEqual([]);
    await copyFile(image.rootfs, rootfs);
    await expect.poll(state, { timeout: 60_000, interval: 200 }).toMatchObject({ usable: true });
    expect(errors()).toHaveLength(1);
  });

  it("that becomes read-only goes on to be booted from", async () => {
    const { places, state, driver } = await hostWithStore();
    const store = imagesDirectory(places);
    await exec("mount", ["--bind", store, store]);
    onTestFinished(async () => void (await exec("umount", ["-l", store])));
    await exec("mount", ["-o", "remount,ro,bind", store]);
    await expect(rm(join(store, "refs"), { recursive: true })).rejects.toMatchObject({ code: "EROFS" });
    await driver.create(specOf(HEX), contextOf());
    expect(await driver.list()).toMatchObject([{ hex: HEX, state: "running" }]);
    expect(state()).toMatchObject({ usable: true });
  });
});
