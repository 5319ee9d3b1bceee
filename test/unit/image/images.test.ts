import { mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describeFiles, imageDirectory, localName, writeReference } from "../../../src/image/record.ts";
import { createImages } from "../../../src/image/store/images.ts";
import { temporaryDirectory } from "./temporary.ts";

const { signal } = new AbortController();
const progress = () => undefined;
const DIGEST = `sha256:${"ab".repeat(32)}`;

async function placeImage(state: string, digest = DIGEST) {
  const directory = imageDirectory({ state, run: state }, digest);
  await mkdir(directory, { recursive: true });
  const record = {
    digest,
    inputs: "i",
    rootfs: "rootfs.ext4",
    rootfsType: "ext4",
    kernel: "vmlinux",
    initrd: "initrd",
    kernelVersion: "6.1",
    builtAt: 1,
  };
  const names = ["rootfs.ext4", "vmlinux", "initrd"];
  for (const name of names) await writeFile(join(directory, name), `content of ${name}`);
  const files = await describeFiles(directory, names);
  await writeFile(join(directory, "image.json"), JSON.stringify({ ...record, files }));
  return directory;
}

describe("the images of a host", () => {
  it.each(["local:default", "default"])("are found by name: %s", async (reference) => {
    const state = await temporaryDirectory();
    const places = { state, run: state };
    const directory = await placeImage(state);
    await writeReference(places, "default", DIGEST);
    expect(await createImages({ places }).resolve(reference, signal, progress)).toEqual({
      digest: DIGEST,
      rootfs: join(directory, "rootfs.ext4"),
      rootfsType: "ext4",
      kernel: join(directory, "vmlinux"),
      initrd: join(directory, "initrd"),
      kernelVersion: "6.1",
    });
  });

  it.each([
    ["a file is missing", (path: string) => rm(path), "is missing"],
    ["a file is cut short", (path: string) => writeFile(path, "content"), "has 7 bytes instead of 22"],
    [
      "a file has other content",
      (path: string) => writeFile(path, "content of rootfs.ext5"),
      "has another content than was built",
    ],
  ])(
    "are damaged when %s; the default one is then built again, where that can be done",
    async (_, damage, expected) => {
      const state = await temporaryDirectory();
      const places = { state, run: state };
      const directory = await placeImage(state);
      await writeReference(places, "default", DIGEST);
      await damage(join(directory, "rootfs.ext4"));
      const images = createImages({ places });
      const wrong = { code: "IMAGE_DAMAGED", message: expect.stringContaining(expected) };
      await expect(images.resolve("default", signal, progress)).rejects.toMatchObject(wrong);
      await expect(images.verify("default")).rejects.toMatchObject(wrong);

      let builds = 0;
      const build = async () => {
        builds++;
        await placeImage(state);
        const image = await createImages({ places }).resolve("default", signal, progress);
        return { image, changed: true, bytes: 0, milliseconds: 0 };
      };
      const building = createImages({ places, build });
      await building.resolve("default", signal, progress);
      await building.verify("default");
      await damage(join(directory, "rootfs.ext4"));
      await building.resolve("default", signal, progress);
      expect(builds).toBe(2);
      await building.verify("default");
    },
  );

  it("are whole when a file was only touched", async () => {
    const state = await temporaryDirectory();
    const places = { state, run: state };
    const directory = await placeImage(state);
    await writeReference(places, "default", DIGEST);
    await utimes(join(directory, "rootfs.ext4"), 1, 1);
    await createImages({ places }).verify("default");
  });

  it("that are not here, or not this host's, are missing", async () => {
    const state = await temporaryDirectory();
    const images = createImages({ places: { state, run: state } });
    await expect(images.verify("default")).rejects.toMatchObject({ code: "IMAGE_MISSING" });
    await expect(images.verify("ghcr.io/a/b:c")).rejects.toMatchObject({ code: "IMAGE_MISSING" });
  });

  it("are listed, and nothing else that lies there", async () => {
    const state = await temporaryDirectory();
    await placeImage(state);
    await mkdir(join(state, "images", "new-x1"));
    await mkdir(join(state, "images", "cd".repeat(32)));
    const images = await createImages({ places: { state, run: state } }).list();
    expect(images.map(({ digest }) => digest)).toEqual([DIGEST]);
  });

  it("are none where nothing was built", async () => {
    const state = await temporaryDirectory();
    expect(await createImages({ places: { state, run: state } }).list()).toEqual([]);
  });

  it.each([
    ["missing", "IMAGE_MISSING", "fireteact image build --name missing"],
    ["default", "IMAGE_MISSING", "fireteact image build"],
    ["ghcr.io/owner/image:latest", "IMAGE_REFERENCE", expect.stringContaining("local:default")],
    ["local:../../etc", "IMAGE_REFERENCE", expect.anything()],
  ])("say how to get %s", async (reference, code, hint) => {
    const state = await temporaryDirectory();
    const images = createImages({ places: { state, run: state } });
    await expect(images.resolve(reference, signal, progress)).rejects.toMatchObject({ code, hint });
  });

  it("say which record is damaged", async () => {
    const state = await temporaryDirectory();
    const directory = await placeImage(state);
    await writeFile(join(directory, "image.json"), "{");
    await expect(createImages({ places: { state, run: state } }).list()).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringContaining(directory),
    });
  });

  it("are built once for all who ask at the same time, and again after a failure", async () => {
    const state = await temporaryDirectory();
    const places = { state, run: state };
    let builds = 0;
    const image = {
      digest: DIGEST,
      rootfs: "r",
      rootfsType: "ext4" as const,
      kernel: "k",
      initrd: "i",
      kernelVersion: "6",
    };
    const images = createImages({
      places,
      build: async (name) => {
        builds++;
        if (builds === 1) throw new Error(`no ${name} today`);
        return { image, changed: true, bytes: 1, milliseconds: 1 };
      },
    });
    const first = await Promise.allSettled([1, 2].map(() => images.resolve("default", signal, progress)));
    expect(first.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const second = await Promise.all([1, 2].map(() => images.resolve("default", signal, progress)));
    expect(second).toEqual([image, image]);
    expect(builds).toBe(2);
  });

  it("follow the program and its settings: the default one at its first use and when they may have changed", async () => {
    const state = await temporaryDirectory();
    const places = { state, run: state };
    for (const name of ["default", "own"]) await writeReference(places, name, DIGEST);
    await placeImage(state);
    const built: string[] = [];
    let failure: Error | undefined;
    const images = createImages({
      places,
      build: async (name) => {
        built.push(name);
        if (failure !== undefined) throw failure;
        const [image] = await createImages({ places }).list();
        if (image === undefined) throw new Error("no image");
        return { image, changed: false, bytes: 1, milliseconds: 1 };
      },
    });
    const resolve = (name: string) => images.resolve(name, signal, progress);
    await Promise.all(["default", "local:default", "own"].map(resolve));
    await resolve("default");
    expect(built).toEqual(["default"]);
    images.recheck();
    failure = new Error("a certificate cannot be read");
    await expect(resolve("default")).rejects.toThrow(failure);
    failure = undefined;
    await Promise.all(["default", "own"].map(resolve));
    await resolve("default");
    expect(built).toEqual(["default", "default", "default"]);
  });

  it("are looked at again when the sources changed while they were built", async () => {
    const state = await temporaryDirectory();
    const places = { state, run: state };
    await placeImage(state);
    await writeReference(places, "default", DIGEST);
    const finish: (() => void)[] = [];
    const images = createImages({
      places,
      build: async () => {
        await new Promise<void>((resolve) => finish.push(resolve));
        const [image] = await createImages({ places }).list();
        if (image === undefined) throw new Error("no image");
        return { image, changed: true, bytes: 1, milliseconds: 1 };
      },
    });
    const resolve = () => images.resolve("default", signal, progress);
    const older = resolve();
    images.recheck();
    const newer = resolve();
    await expect.poll(() => finish.length).toBe(2);
    // The newer one ends first: what the older one finds then is not the newest.
    for (const end of finish.toReversed()) end();
    await Promise.all([older, newer]);
    await resolve();
    expect(finish).toHaveLength(2);
  });

  it("have names that cannot lead out of their directory", () => {
    expect(["local:a", "a.b-c_1", "A", "..", "a/b", "", "local:", "x".repeat(65)].map(localName)).toEqual([
      "a",
      "a.b-c_1",
      ...Array.from({ length: 6 }, () => undefined),
    ]);
  });
});
