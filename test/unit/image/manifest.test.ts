import { chmod, mkdir, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fileSha256, sha256, treeManifest } from "../../../src/image/build/manifest.ts";
import { temporaryDirectory } from "./temporary.ts";

describe("the manifest of a tree", () => {
  it("has type, mode, owner, content and path of everything, in order", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "b"), { mode: 0o750 });
    await writeFile(join(root, "b/file"), "content");
    await chmod(join(root, "b/file"), 0o4755);
    await symlink("/proc/self", join(root, "a"));
    const owner = `${process.getuid?.()}:${process.getgid?.()}`;
    expect(await treeManifest(root)).toEqual([
      `link - ${owner} "/proc/self" "a"`,
      `directory 0750 ${owner} - "b"`,
      `file 4755 ${owner} ${sha256("content")} "b/file"`,
    ]);
  });

  it("does not follow links out of the tree, nor in circles", async () => {
    const root = await temporaryDirectory();
    await symlink("/", join(root, "host"));
    await symlink(".", join(root, "self"));
    expect(await treeManifest(root)).toHaveLength(2);
  });

  it("does not depend on times", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, "file"), "x");
    const before = await treeManifest(root);
    await utimes(join(root, "file"), 1, 1);
    expect(await treeManifest(root)).toEqual(before);
  });

  it("has one line an entry, whatever its name", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, 'a\nfile 0644 0:0 - "shadow"'), "");
    const lines = await treeManifest(root);
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain("\n");
  });

  it("hashes large files as small ones", async () => {
    const file = join(await temporaryDirectory(), "large");
    const content = Buffer.alloc(3_000_000, "large");
    await writeFile(file, content);
    expect(await fileSha256(file)).toBe(sha256(content));
    expect((await treeManifest(join(file, "..")))[0]).toContain(sha256(content));
  });
});
