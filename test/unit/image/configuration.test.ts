import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { configOf } from "../../../src/cli/image.ts";
import { topFiles } from "../../../src/image/build/top.ts";
import { temporaryDirectory } from "./temporary.ts";

describe("the configuration that an image is built with", () => {
  it("is the one named, else the usual one where it exists, else none", async () => {
    const usual = join(await temporaryDirectory(), "config.yaml");
    expect(configOf(undefined, usual)).toBeUndefined();
    expect(configOf("/other.yaml", usual)).toBe("/other.yaml");
    await writeFile(usual, "");
    expect(configOf(undefined, usual)).toBe(usual);
    expect(configOf("/other.yaml", usual)).toBe("/other.yaml");
  });
});

describe("the files that come with the program", () => {
  it("are named, with what to do, when they are missing", async () => {
    const directory = await temporaryDirectory();
    const files = join(directory, "images");
    const sources = { node: "node", agent: "agent.cjs", files };
    await expect(topFiles(sources)).rejects.toMatchObject({
      code: "IMAGE_INPUT",
      message: `${join(files, "rootfs")} is missing, which goes into the guest image`,
      hint: "Install the whole program: its folder images/ belongs beside its folder dist/",
    });
    await mkdir(join(files, "rootfs"), { recursive: true });
    expect((await topFiles(sources)).map(({ target }) => target)).toContain("usr/local/bin/node");
  });
});
