import type { Stats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

export interface TreeEntry {
  /** Relative to the tree. */
  path: string;
  stats: Stats;
}

/**
 * Everything in a tree, sorted by path, directories before what they hold. Symbolic links are entries of their own and
 * never followed: those in a guest's tree lead into the host's.
 */
export async function walk(root: string, directory = ""): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for (const name of (await readdir(join(root, directory))).toSorted()) {
    const path = join(directory, name);
    const stats = await lstat(join(root, path));
    entries.push({ path, stats });
    if (stats.isDirectory()) entries.push(...(await walk(root, path)));
  }
  return entries;
}
