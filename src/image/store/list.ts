import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { imagesDirectory, readRecord, referencesDirectory, toImage } from "../record.ts";
import { listPulled } from "./pulled.ts";

/** An image on this host, for people. */
export interface ListedImage {
  digest: string;
  kernel: string;
  rootfs: string;
  /** Local names and registry references that lead to it. */
  names: string[];
  /** What its root file system takes on the disk. */
  mebibytes: number;
}

export async function listImages(places: Places): Promise<ListedImage[]> {
  const names = await namesOf(places);
  const listed: ListedImage[] = [];
  for (const entry of (await readdir(imagesDirectory(places)).catch(ignore("ENOENT"))) ?? []) {
    if (!/^[0-9a-f]{64}$/.test(entry)) continue;
    const record = await readRecord(join(imagesDirectory(places), entry));
    if (record === undefined) continue;
    const { digest, rootfs, kernelVersion } = toImage(places, record);
    const blocks = (await stat(rootfs).catch(ignore("ENOENT")))?.blocks ?? 0;
    const mebibytes = Math.round((blocks * 512) / 2 ** 20);
    listed.push({ digest, kernel: kernelVersion, rootfs, names: names.get(digest) ?? [], mebibytes });
  }
  return listed;
}

/** The names that lead to each digest. */
export async function namesOf(places: Places): Promise<Map<string, string[]>> {
  const names = new Map<string, string[]>();
  const add = (digest: string, name: string) => names.set(digest, [...(names.get(digest) ?? []), name]);
  const directory = referencesDirectory(places);
  for (const name of (await readdir(directory).catch(ignore("ENOENT"))) ?? []) {
    add((await readFile(join(directory, name), "utf8")).trim(), `local:${name}`);
  }
  for (const { image, reference } of await listPulled(places)) add(image, reference);
  return names;
}
