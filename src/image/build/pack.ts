import { createHash } from "node:crypto";
import { truncate, writeFile } from "node:fs/promises";
import { runTool } from "../tool.ts";
import { IMAGE_EPOCH } from "./base.ts";
import { walk } from "./walk.ts";

const BLOCK = 4096;
const INODE = 256;

/** Space that a tree's content takes in whole blocks, and the number of its inodes at most. */
export interface TreeSize {
  bytes: number;
  entries: number;
}

/**
 * Writes a tree as an ext4 image without mounting anything. Among ext4, erofs and squashfs, each with and without
 * compression, it was the one from which an emulated guest starts soonest, and its driver is part of the kernel
 * (docs/guest-image.md has the figures).
 *
 * @param digest Of the content; the file system's identifiers are taken from it, so that they are reproducible.
 * @param known Its size, where the caller knows it.
 */
export async function packExt4(
  tree: string,
  target: string,
  digest: string,
  signal: AbortSignal,
  known?: TreeSize,
): Promise<void> {
  const { bytes, entries } = known ?? (await measure(tree));
  const inodes = entries + 256;
  // Room for the file system's own structures; what stays free is a hole and costs nothing.
  const size = Math.ceil((bytes + inodes * INODE) * 1.03) + 16 * 1024 * 1024;
  await writeFile(target, "");
  await truncate(target, Math.ceil(size / BLOCK) * BLOCK);
  const features = "^has_journal,^resize_inode,^metadata_csum,^huge_file,^dir_nlink";
  await runTool(
    "mkfs.ext4",
    [
      ["-q", "-F", "-m", "0", "-b", String(BLOCK), "-I", String(INODE), "-N", String(inodes), "-O", features],
      ["-L", "fireteact", "-U", uuidFrom(digest), "-E", `hash_seed=${uuidFrom(`seed ${digest}`)},nodiscard`],
      ["-d", tree, target],
    ].flat(),
    { signal, env: { E2FSPROGS_FAKE_TIME: String(IMAGE_EPOCH) } },
  );
}

async function measure(tree: string): Promise<TreeSize> {
  const entries = await walk(tree);
  let bytes = 0;
  for (const { stats } of entries) {
    bytes += stats.isFile() || stats.isDirectory() ? Math.max(Math.ceil(stats.size / BLOCK), 1) * BLOCK : BLOCK;
  }
  return { bytes, entries: entries.length };
}

function uuidFrom(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  // Version 8: made from whatever its maker likes.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
