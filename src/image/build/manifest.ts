import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type TreeEntry, walk } from "./walk.ts";

const SMALL = 1024 * 1024;

/**
 * Lists a tree's content, one line an entry, sorted by path: type, mode, owner, digest or target, path. Two trees with
 * the same lines are the same to a guest; times and the order on disk do not count.
 */
export async function treeManifest(root: string): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of await walk(root)) lines.push(await manifestLine(root, entry));
  return lines;
}

async function manifestLine(root: string, { path, stats }: TreeEntry): Promise<string> {
  const file = join(root, path);
  const mode = (stats.mode & 0o7777).toString(8).padStart(4, "0");
  const owner = `${stats.uid}:${stats.gid}`;
  // A name may hold anything but a slash and NUL; escaped, it cannot forge a line.
  const name = JSON.stringify(path);
  if (stats.isFile()) {
    // Most files are small, and a stream costs more than reading them.
    const digest = stats.size < SMALL ? sha256(await readFile(file)) : await fileSha256(file);
    return `file ${mode} ${owner} ${digest} ${name}`;
  }
  if (stats.isDirectory()) return `directory ${mode} ${owner} - ${name}`;
  if (stats.isSymbolicLink()) return `link - ${owner} ${JSON.stringify(await readlink(file))} ${name}`;
  return `special ${mode} ${owner} ${stats.mode >> 12}:${stats.rdev} ${name}`;
}

export async function fileSha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}

export const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");
