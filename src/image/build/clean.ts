import { readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { imageDirectory, imagesDirectory, referencesDirectory } from "../record.ts";

/** How long an image is kept after its name went to another: whoever has just looked it up still starts a guest. */
const GRACE_MILLISECONDS = 10 * 60_000;

/**
 * Removes what killed builds left behind, and images that no name points to any more. Guests that run from such an
 * image are not disturbed, since their monitor has its files open. The caller holds the build's lock.
 */
export async function removeUnused(places: Places): Promise<void> {
  const directory = imagesDirectory(places);
  const { digests, changedAt } = await references(places);
  const settled = Date.now() - changedAt > GRACE_MILLISECONDS;
  for (const entry of await readdir(directory)) {
    const superseded = /^[0-9a-f]{64}$/.test(entry) && settled && !digests.has(entry);
    if (superseded || entry.startsWith("new-")) await rm(join(directory, entry), { recursive: true, force: true });
  }
}

/** The images that have names, and when a name last changed. */
async function references(places: Places): Promise<{ digests: Set<string>; changedAt: number }> {
  const directory = referencesDirectory(places);
  const digests = new Set<string>();
  let changedAt = 0;
  for (const name of (await readdir(directory).catch(ignore("ENOENT"))) ?? []) {
    const path = join(directory, name);
    const digest = (await readFile(path, "utf8")).trim();
    digests.add(basename(imageDirectory(places, digest)));
    changedAt = Math.max(changedAt, (await stat(path)).mtimeMs);
  }
  return { digests, changedAt };
}
