import { mkdir, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { createRootDisks } from "../../../src/image/store/root-disks.ts";
import { temporaryDirectory } from "../../unit/image/temporary.ts";

const { signal } = new AbortController();

async function host(sizeMib = 64) {
  const state = await temporaryDirectory();
  const directory = join(state, "guest");
  await mkdir(directory);
  return { state, directory, disks: createRootDisks({ places: { state, run: state }, sizeMib }) };
}

describe("scratch disks", () => {
  it("are sound, empty ext4 file systems of the size asked for, with holes instead of zeros", async () => {
    const { disks, directory } = await host(2048);
    const path = await disks.clone("hex", directory, signal);
    const { size, blocks } = await stat(path);
    expect(size).toBe(2048 * 1024 * 1024);
    expect(blocks * 512).toBeLessThan(4 * 1024 * 1024);
    expect((await exec("e2fsck", ["-fn", path])).stdout).toContain("11/131072 files");
  });

  it("share nothing with each other nor with the pristine one", async () => {
    const { state, disks, directory } = await host();
    const first = await disks.clone("a", directory, signal);
    await using file = await open(first, "r+");
    await file.write("secret of the first guest", 10_000_000);
    await mkdir(join(state, "other"));
    const second = await disks.clone("b", join(state, "other"), signal);
    expect((await readFile(second)).includes("secret of the first guest")).toBe(false);
  });

  it("are made by several at once from one pristine disk", async () => {
    const { state, disks } = await host();
    const paths = await Promise.all(
      Array.from({ length: 5 }, async (_, index) => {
        const directory = join(state, String(index));
        await mkdir(directory);
        return disks.clone(String(index), directory, signal);
      }),
    );
    const [reference, ...others] = await Promise.all(paths.map((path) => readFile(path)));
    for (const other of others) expect(other.equals(reference!)).toBe(true);
  });

  it("are not made once aborted, and a failure does not last", async () => {
    const { state, disks, directory } = await host();
    await expect(disks.clone("x", directory, AbortSignal.abort())).rejects.toThrow("aborted");
    await expect(disks.clone("x", join(state, "nowhere"), signal)).rejects.toThrow();
    expect(await disks.clone("x", directory, signal)).toBe(join(directory, "scratch.ext4"));
  });

  it("say when the pristine disk cannot be made, and try again", async () => {
    const state = await temporaryDirectory();
    await writeFile(join(state, "disks"), "in the way");
    const disks = createRootDisks({ places: { state, run: state }, sizeMib: 64 });
    await expect(disks.clone("x", state, signal)).rejects.toThrow(/EEXIST|ENOTDIR/);
    await rm(join(state, "disks"));
    expect(await disks.clone("x", state, signal)).toBe(join(state, "scratch.ext4"));
  });
});
