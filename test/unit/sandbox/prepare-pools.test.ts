import { expect, it } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import { preparePools } from "../../../src/sandbox/microvm/prepare-pools.ts";

const deps = { images: { isRemote: (image: string) => image.startsWith("remote") }, log: silentLogger };
const pools = (...images: string[]) => new Map(images.map((image, index) => [`pool-${index}`, { image }]));

/** Ready at once, never, or not at all. */
const prepare = async ({ image }: { image: string }): Promise<string> => {
  if (image.endsWith("slow")) return await new Promise<string>(() => undefined);
  if (image.endsWith("bad")) throw new Error(`no ${image}`);
  return image;
};

it("pools with images of this host wait for none from a registry", async () => {
  expect(await preparePools(pools("remote-slow", "local-a", "remote-bad", "local-b"), prepare, deps)).toEqual([
    "local-a",
    "local-b",
  ]);
});

it("without those the first image from a registry is waited for", async () => {
  expect(await preparePools(pools("remote-slow", "remote-bad", "remote-a"), prepare, deps)).toEqual(["remote-a"]);
  await expect(preparePools(pools("remote-bad", "remote-too-bad"), prepare, deps)).rejects.toThrow("no remote-bad");
});

it("an image of this host that is missing is an error", async () => {
  await expect(preparePools(pools("local-bad", "remote-a"), prepare, deps)).rejects.toThrow("no local-bad");
  expect(await preparePools(pools(), prepare, deps)).toEqual([]);
});
