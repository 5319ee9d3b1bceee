import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { ignore } from "../../base/errors.ts";
import { type Places, sandboxDirectory } from "../../base/names.ts";

const SandboxRecord = z.object({ driver: z.string(), image: z.string().optional() });

/** Drivers whose sandboxes boot images. */
const BOOTING = new Set(["qemu", "firecracker"]);

/**
 * Digests of the images that sandboxes on this host were started from; undefined where one does not say its image, or
 * cannot be read: then any image may be in use.
 */
export async function imagesInUse(places: Places): Promise<ReadonlySet<string> | undefined> {
  const root = dirname(sandboxDirectory(places, "0"));
  const digests = new Set<string>();
  for (const entry of (await readdir(root).catch(ignore("ENOENT"))) ?? []) {
    if (entry.startsWith(".")) continue;
    const text = await readFile(join(root, entry, "record.json"), "utf8").catch(ignore("ENOENT", "ENOTDIR"));
    if (text === undefined) continue;
    const record = SandboxRecord.safeParse(parse(text));
    if (!record.success) return undefined;
    const { driver, image } = record.data;
    if (!BOOTING.has(driver)) continue;
    if (image === undefined) return undefined;
    digests.add(image);
  }
  return digests;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
