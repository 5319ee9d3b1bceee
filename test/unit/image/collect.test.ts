import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { sandboxDirectory } from "../../../src/base/names.ts";
import { type CollectOptions, collect } from "../../../src/image/collect.ts";
import { imagesDirectory, referencesDirectory, writeReference } from "../../../src/image/record.ts";
import { pulledFile, writePulled } from "../../../src/image/store/pulled.ts";
import { temporaryDirectory } from "./temporary.ts";

const [named, superseded, pulled] = ["ab".repeat(32), "cd".repeat(32), "ef".repeat(32)] as const;
const REFERENCE = "ghcr.io/o/i:1";
const HOUR = 3_600;

const { signal } = new AbortController();

/** A host with an image that has a local name, one that lost it, and one that was pulled; all of it is old. */
async function host() {
  const state = await temporaryDirectory();
  const places = { state, run: join(state, "run") };
  const directory = imagesDirectory(places);
  const blobs = join(directory, "pull", "blobs");
  await mkdir(blobs, { recursive: true });
  for (const name of [named, superseded, pulled, "new-x1", "base"])
    await mkdir(join(directory, name), { recursive: true });
  for (const [digest, layer] of [
    [superseded, "layer-of-superseded"],
    [pulled, "layer-of-pulled"],
  ] as const) {
    await writeFile(
      join(directory, digest, "image.json"),
      JSON.stringify({
        ...RECORD,
        digest: `sha256:${digest}`,
        source: { ...RECORD.source, layers: [`sha256:${layer}`] },
      }),
    );
    await writeFile(join(blobs, layer), "layer");
    await age(join(blobs, layer), 48 * HOUR);
  }
  await writeReference(places, "default", `sha256:${named}`);
  await writePulled(places, { reference: REFERENCE, remote: "r", image: `sha256:${pulled}`, pulledAt: 0 });
  await age(join(referencesDirectory(places), "default"), HOUR);
  await age(pulledFile(places, REFERENCE), HOUR);
  return {
    places,
    blobs,
    left: async () => (await readdir(directory)).filter((name) => /^[0-9a-f]{64}$|^new-|^base$/.test(name)).toSorted(),
    layers: async () => (await readdir(blobs)).toSorted(),
    collect: (options: CollectOptions = {}) => collect(places, { ...options, signal }),
    sandbox: async (record: object) => {
      const own = sandboxDirectory(places, "0".repeat(24));
      await mkdir(own, { recursive: true });
      await writeFile(join(own, "record.json"), JSON.stringify(record));
    },
  };
}

const RECORD = {
  inputs: "i",
  rootfs: "rootfs.ext4",
  rootfsType: "ext4",
  kernel: "vmlinux",
  initrd: "initrd",
  kernelVersion: "6.1",
  builtAt: 1,
  source: { manifest: "m", layers: [] as string[], recipe: 1 },
};

async function age(path: string, seconds: number): Promise<void> {
  const then = Date.now() / 1_000 - seconds;
  await utimes(path, then, then);
}

it("images without a name go, with their layers; those with one stay, with theirs", async () => {
  const { left, layers, collect } = await host();
  expect(await collect()).toMatchObject({
    images: [`sha256:${superseded}`],
    references: [],
    blobs: 1,
    unknownSandboxes: false,
  });
  expect(await left()).toEqual([named, "base", pulled].toSorted());
  expect(await layers()).toEqual(["layer-of-pulled"]);
});

it("an image whose name has just gone to another stays for those who start a guest from it", async () => {
  const { places, left, collect } = await host();
  await writeReference(places, "default", `sha256:${named}`);
  expect((await collect()).images).toEqual([]);
  expect(await left()).toContain(superseded);
  // What a killed build left goes at once.
  expect(await left()).not.toContain("new-x1");
});

it("an image that a sandbox was started from stays", async () => {
  const { left, layers, collect, sandbox } = await host();
  await sandbox({ driver: "qemu", image: `sha256:${superseded}` });
  expect((await collect()).images).toEqual([]);
  expect(await left()).toContain(superseded);
  expect(await layers()).toContain("layer-of-superseded");
});

it.each([
  ["does not say its image", { driver: "firecracker" }],
  ["has a record that cannot be read", { image: 7 }],
])("no image goes while a sandbox %s", async (_, record) => {
  const { left, collect, sandbox } = await host();
  await sandbox(record);
  expect(await collect()).toMatchObject({ images: [], unknownSandboxes: true });
  expect(await left()).toContain(superseded);
});

it("sandboxes that boot nothing are no hindrance", async () => {
  const { collect, sandbox } = await host();
  await sandbox({ driver: "fake" });
  expect((await collect()).images).toEqual([`sha256:${superseded}`]);
});

it("what was pulled and is wanted no more goes, reference and image; a dry run only says so", async () => {
  const { left, layers, collect } = await host();
  const all = { references: [REFERENCE], images: [`sha256:${superseded}`, `sha256:${pulled}`], blobs: 2 };
  const isWanted = () => false;
  const before = [await left(), await layers()];
  expect(await collect({ isWanted, dryRun: true })).toMatchObject(all);
  expect([await left(), await layers()]).toEqual(before);
  expect(await collect({ isWanted })).toMatchObject(all);
  expect(await left()).toEqual([named, "base"].toSorted());
  expect((await collect({ isWanted })).references).toEqual([]);
});

it("what may belong to a pull that goes on stays", async () => {
  const { places, blobs, layers, collect } = await host();
  await writeFile(join(blobs, "new.part"), "a part");
  await writeFile(join(blobs, "old.part"), "a part");
  await age(join(blobs, "old.part"), 25 * HOUR);
  const pulls = join(imagesDirectory(places), "pull");
  const [mine, dead] = [`work-${process.pid}-a`, "work-4194999-b"];
  for (const name of [mine, dead]) await mkdir(join(pulls, name));
  await collect();
  expect(await layers()).toEqual(["layer-of-pulled", "new.part"]);
  expect(await readdir(pulls)).toContain(mine);
  expect(await readdir(pulls)).not.toContain(dead);
});
