import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { placeImage } from "../../../src/image/publish.ts";
import { checkFiles, describeFiles, imageDirectory, readRecord } from "../../../src/image/record.ts";
import { temporaryDirectory } from "./temporary.ts";

const FILES = ["rootfs.ext4", "vmlinux", "initrd"];
const digest = `sha256:${"a".repeat(64)}`;

async function host() {
  const places = { state: await temporaryDirectory(), run: "/nonexistent" };
  const directory = imageDirectory(places, digest);
  await mkdir(join(directory, ".."), { recursive: true });
  /** Builds the image, in bytes of its own, and puts it to its place. */
  const build = async (inputs: string, bytes: string) => {
    const draft = join(places.state, `draft-${inputs}`);
    await mkdir(draft);
    for (const name of FILES) await writeFile(join(draft, name), `${name} ${bytes}`);
    const files = await describeFiles(draft, FILES);
    const names = { rootfs: "rootfs.ext4", kernel: "vmlinux", initrd: "initrd" };
    const rest = { rootfsType: "ext4", kernelVersion: "1", builtAt: 0 } as const;
    await placeImage(draft, { digest, inputs, ...names, ...rest, files }, places);
  };
  const whole = async () => {
    const record = await readRecord(directory);
    if (record === undefined) throw new Error("there is no record");
    await checkFiles(places, record);
    return record;
  };
  return { directory, build, whole };
}

it("an image that is built again is whole, and guests keep the files that they run from", async () => {
  const { directory, build, whole } = await host();
  await build("first", "one");
  expect(await whole()).toMatchObject({ inputs: "first" });
  await build("second", "two");
  expect(await whole()).toMatchObject({ inputs: "second" });
  expect(await readFile(join(directory, "rootfs.ext4"), "utf8")).toBe("rootfs.ext4 one");
});

it("a damaged image gives way to the one that is built again", async () => {
  const { directory, build, whole } = await host();
  await build("first", "one");
  await writeFile(join(directory, "rootfs.ext4"), "something else");
  await expect(whole()).rejects.toMatchObject({ code: "IMAGE_DAMAGED" });
  await build("second", "two");
  await whole();
  expect(await readFile(join(directory, "rootfs.ext4"), "utf8")).toBe("rootfs.ext4 two");
});
