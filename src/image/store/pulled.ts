import { createHash } from "node:crypto";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { imagesDirectory } from "../record.ts";

/** What a registry reference has led to. */
const PulledRecord = z.object({
  reference: z.string(),
  /** What the registry's tag pointed to: an index or a manifest. */
  remote: z.string(),
  /** The guest image on this host. */
  image: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  /** Unix milliseconds. */
  pulledAt: z.number(),
});
export type PulledRecord = z.infer<typeof PulledRecord>;

/** Holds a file for each reference that was pulled. */
export const pulledDirectory = (places: Places): string => join(imagesDirectory(places), "pulled");

/** References have characters that file names cannot have, and may be longer than those. */
export function pulledFile(places: Places, reference: string): string {
  return join(pulledDirectory(places), `${createHash("sha256").update(reference).digest("hex").slice(0, 32)}.json`);
}

/** Undefined where the reference was never pulled; a record that cannot be read is as good as none. */
export async function readPulled(places: Places, reference: string): Promise<PulledRecord | undefined> {
  return await readFrom(pulledFile(places, reference));
}

export async function listPulled(places: Places): Promise<PulledRecord[]> {
  const names = (await readdir(pulledDirectory(places)).catch(ignore("ENOENT"))) ?? [];
  const records = await Promise.all(
    names.filter((name) => name.endsWith(".json")).map((name) => readFrom(join(pulledDirectory(places), name))),
  );
  return records.filter((record) => record !== undefined).toSorted((a, b) => (a.reference < b.reference ? -1 : 1));
}

export async function writePulled(places: Places, record: PulledRecord): Promise<void> {
  await mkdir(pulledDirectory(places), { recursive: true });
  await writeFileAtomic(pulledFile(places, record.reference), `${JSON.stringify(record, null, 2)}\n`, { mode: 0o644 });
}

async function readFrom(file: string): Promise<PulledRecord | undefined> {
  const text = await readFile(file, "utf8").catch(ignore("ENOENT"));
  if (text === undefined) return undefined;
  try {
    return PulledRecord.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
