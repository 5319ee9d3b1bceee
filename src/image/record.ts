import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { writeFileAtomic } from "../base/atomic-file.ts";
import { FireteactError, ignore } from "../base/errors.ts";
import type { Places } from "../base/names.ts";
import { fileSha256 } from "./build/manifest.ts";
import type { GuestImage } from "./port.ts";

/** The file with an image's record, beside its files. */
export const RECORD = "image.json";

/** What is in it; file names are relative to it. */
export const ImageRecord = z.object({
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  /** Digest of everything the image was made from: equal inputs need no build. */
  inputs: z.string(),
  rootfs: z.string(),
  rootfsType: z.enum(["ext4", "erofs", "squashfs"]),
  kernel: z.string(),
  initrd: z.string(),
  kernelVersion: z.string(),
  /** Unix milliseconds. */
  builtAt: z.number(),
  /** Where a pulled image is from; its root file system serves every kernel. */
  source: z.object({ manifest: z.string(), layers: z.array(z.string()), recipe: z.number() }).optional(),
  /** The files as they were built. Absent in records of older versions. */
  files: z.record(z.string(), z.object({ size: z.number(), mtimeMs: z.number(), sha256: z.string() })).optional(),
});
export type ImageRecord = z.infer<typeof ImageRecord>;

export const imagesDirectory = (places: Places): string => join(places.state, "images");
/** Holds one file a name, with the digest it points to. */
export const referencesDirectory = (places: Places): string => join(imagesDirectory(places), "refs");
const referenceFile = (places: Places, name: string): string => join(referencesDirectory(places), name);

/** Where an image of this digest lies. */
export function imageDirectory(places: Places, digest: string): string {
  return join(imagesDirectory(places), digest.replace(/^sha256:/, ""));
}

/** `local:default` and `default` are the same local image; everything else is not local. */
export function localName(reference: string): string | undefined {
  const name = reference.replace(/^local:/, "");
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) ? name : undefined;
}

/** The record a name points to; undefined where there is no such image. */
export async function readReference(places: Places, name: string): Promise<ImageRecord | undefined> {
  const digest = await readFile(referenceFile(places, name), "utf8").catch(ignore("ENOENT"));
  return digest === undefined ? undefined : readRecord(imageDirectory(places, digest.trim()));
}

export async function readRecord(directory: string): Promise<ImageRecord | undefined> {
  const path = join(directory, RECORD);
  const text = await readFile(path, "utf8").catch(ignore("ENOENT", "ENOTDIR"));
  if (text === undefined) return undefined;
  try {
    return ImageRecord.parse(JSON.parse(text));
  } catch (error) {
    throw new FireteactError("IMAGE_DAMAGED", `The record of a guest image cannot be read: ${path}`, {
      hint: `Remove ${directory} and build the image again: fireteact image build`,
      cause: error,
    });
  }
}

/** What a record says of its files, which lie in `directory`. */
export async function describeFiles(directory: string, names: string[]): Promise<NonNullable<ImageRecord["files"]>> {
  const files: NonNullable<ImageRecord["files"]> = {};
  for (const name of names) {
    const path = join(directory, name);
    const { size, mtimeMs } = await stat(path);
    files[name] = { size, mtimeMs, sha256: await fileSha256(path) };
  }
  return files;
}

/**
 * Makes sure that an image's files are what was built. A file whose size and time are those of its record is not read.
 *
 * @throws FireteactError `IMAGE_DAMAGED`
 */
export async function checkFiles(places: Places, record: ImageRecord): Promise<void> {
  const directory = imageDirectory(places, record.digest);
  for (const name of [record.rootfs, record.kernel, record.initrd]) {
    const path = join(directory, name);
    const found = await stat(path).catch(ignore("ENOENT", "ENOTDIR"));
    if (found === undefined) throw damaged(path, "is missing");
    const built = record.files?.[name];
    if (built === undefined || (built.size === found.size && built.mtimeMs === found.mtimeMs)) continue;
    if (built.size !== found.size) throw damaged(path, `has ${found.size} bytes instead of ${built.size}`);
    if ((await fileSha256(path)) !== built.sha256) throw damaged(path, "has another content than was built");
  }
}

/** Whether an error says that an image is damaged, so that it can only be built again. */
export const isDamage = (error: unknown): boolean => error instanceof FireteactError && error.code === "IMAGE_DAMAGED";

const damaged = (path: string, how: string): FireteactError =>
  new FireteactError("IMAGE_DAMAGED", `A file of the guest image ${how}: ${path}`, {
    hint: "build the image again: fireteact image build",
    facts: { path },
  });

/** Lets a name point to an image, in one step. */
export async function writeReference(places: Places, name: string, digest: string): Promise<void> {
  const path = referenceFile(places, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, `${digest}\n`, { mode: 0o644 });
}

export function toImage(places: Places, record: ImageRecord): GuestImage {
  const { digest, rootfsType, kernelVersion } = record;
  const path = (file: string): string => join(imageDirectory(places, digest), file);
  return {
    digest,
    rootfs: path(record.rootfs),
    rootfsType,
    kernel: path(record.kernel),
    initrd: path(record.initrd),
    kernelVersion,
  };
}
