import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { ignore } from "../base/errors.ts";
import type { Places } from "../base/names.ts";
import { identify } from "../base/process.ts";
import { withLock } from "./lock.ts";
import { workPid } from "./oci/convert.ts";
import { pullDirectory } from "./oci/pull.ts";
import { imagesDirectory, readRecord, referencesDirectory } from "./record.ts";
import { imagesInUse } from "./store/in-use.ts";
import { namesOf } from "./store/list.ts";
import { listPulled, pulledDirectory, pulledFile } from "./store/pulled.ts";

export interface CollectOptions {
  /** Whether a registry reference is still wanted. Without it all of them are. */
  isWanted?: (reference: string) => boolean;
  /** Says what would go, and removes nothing. */
  dryRun?: boolean;
}

export interface Collected {
  /** Registry references that were forgotten. */
  references: string[];
  /** Digests of the images that went. */
  images: string[];
  /** Layers that went, and parts of such. */
  blobs: number;
  /** What all of it took on the disk. */
  bytes: number;
  /** No image was removed, since a sandbox runs of which nobody knows its image. */
  unknownSandboxes: boolean;
}

/** How long an image is kept after a name went to another: whoever has just looked it up still starts a guest. */
const IMAGE_GRACE = 10 * 60_000;
/** Longer than any pull takes: what is older belongs to none that goes on. */
const BLOB_GRACE = 24 * 3_600_000;

/** One at a time, and none beside a build. */
export async function collect(
  places: Places,
  options: CollectOptions & { signal: AbortSignal; onWait?: (pid: string) => void },
): Promise<Collected> {
  const { signal, onWait = () => undefined } = options;
  const lock = join(imagesDirectory(places), "lock");
  return await withLock(lock, { signal, onWait }, () => collectLocked(places, options));
}

/**
 * Removes what nothing needs: images without a name that no sandbox was started from, layers of no image, and what killed
 * builds and pulls left. The caller holds the build's lock.
 */
export async function collectLocked(places: Places, options: CollectOptions = {}): Promise<Collected> {
  const { isWanted = () => true, dryRun = false } = options;
  const result: Collected = { references: [], images: [], blobs: 0, bytes: 0, unknownSandboxes: false };
  const remove = async (path: string): Promise<void> => {
    if (!dryRun) await rm(path, { recursive: true, force: true });
  };

  const pulled = await listPulled(places);
  const unwanted = pulled.filter(({ reference, pulledAt }) => !isWanted(reference) && isOld(pulledAt, IMAGE_GRACE));
  for (const { reference } of unwanted) {
    await remove(pulledFile(places, reference));
    result.references.push(reference);
  }
  const layers = await collectImages(places, result, remove);
  await collectBlobs(places, layers, result, remove);
  return result;
}

type Remove = (path: string) => Promise<void>;

/** Returns the layers of the images that stay. */
async function collectImages(places: Places, result: Collected, remove: Remove): Promise<Set<string>> {
  const directory = imagesDirectory(places);
  const settled = isOld(await lastChange(places), IMAGE_GRACE);
  const inUse = await imagesInUse(places);
  const names = await namesOf(places);
  const layers = new Set<string>();
  for (const entry of (await readdir(directory).catch(ignore("ENOENT"))) ?? []) {
    const path = join(directory, entry);
    if (entry.startsWith("new-")) await remove(path);
    if (!/^[0-9a-f]{64}$/.test(entry)) continue;
    const digest = `sha256:${entry}`;
    const record = await readRecord(path).catch(() => undefined);
    const isNamed = names.get(digest)?.some((name) => !result.references.includes(name)) === true;
    const isFree = !isNamed && settled && isOld(record?.builtAt ?? 0, IMAGE_GRACE);
    if (isFree && inUse === undefined) result.unknownSandboxes = true;
    if (isFree && inUse?.has(digest) === false) {
      result.bytes += record === undefined ? 0 : await sizeOf(join(path, record.rootfs));
      result.images.push(digest);
      await remove(path);
    } else for (const layer of record?.source?.layers ?? []) layers.add(layer.replace("sha256:", ""));
  }
  return layers;
}

async function collectBlobs(
  places: Places,
  kept: ReadonlySet<string>,
  result: Collected,
  remove: Remove,
): Promise<void> {
  const pulls = pullDirectory(imagesDirectory(places));
  for (const entry of (await readdir(pulls).catch(ignore("ENOENT"))) ?? []) {
    const pid = workPid(entry);
    if (pid !== undefined && identify(pid) === undefined) await remove(join(pulls, entry));
  }
  const blobs = join(pulls, "blobs");
  for (const entry of (await readdir(blobs).catch(ignore("ENOENT"))) ?? []) {
    const path = join(blobs, entry);
    const { mtimeMs } = (await stat(path).catch(ignore("ENOENT"))) ?? { mtimeMs: Date.now() };
    if (kept.has(entry) || !isOld(mtimeMs, BLOB_GRACE)) continue;
    result.bytes += await sizeOf(path);
    result.blobs++;
    await remove(path);
  }
}

/** When any name last went to another image. */
async function lastChange(places: Places): Promise<number> {
  let last = 0;
  for (const directory of [referencesDirectory(places), pulledDirectory(places)]) {
    for (const name of (await readdir(directory).catch(ignore("ENOENT"))) ?? []) {
      last = Math.max(last, (await stat(join(directory, name)).catch(ignore("ENOENT")))?.mtimeMs ?? 0);
    }
  }
  return last;
}

const isOld = (time: number, grace: number): boolean => Date.now() - time > grace;

/** What goes with a name; nothing where others share the content. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(ignore("ENOENT"));
  return found === undefined || found.nlink > 1 ? 0 : found.blocks * 512;
}
