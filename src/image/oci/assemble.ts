import { link, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError, ignore, systemCode } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { BootFiles } from "../boot-files.ts";
import { sha256 } from "../build/manifest.ts";
import { withLock } from "../lock.ts";
import { isWhole, placeImage } from "../publish.ts";
import { describeFiles, type ImageRecord, imageDirectory, imagesDirectory, readRecord } from "../record.ts";
import { convert } from "./convert.ts";
import { type Described, pullDirectory, type RemoteImage } from "./pull.ts";

/** Counts up when the same layers would be written in another way. */
const RECIPE = 1;

export interface AssembleOptions {
  places: Places;
  boot: BootFiles;
  mostBytes: number;
  signal: AbortSignal;
  progress: (line: string) => void;
}

type Source = NonNullable<ImageRecord["source"]>;

/** The image on this host that a pulled one makes with these boot files. */
export function assembledDigest({ manifest }: Pick<Source, "manifest">, { kernel, initrd }: BootFiles): string {
  return `sha256:${sha256(JSON.stringify([RECIPE, manifest, kernel.sha256, sha256(initrd)]))}`;
}

/**
 * Makes a guest image of what a registry describes: its layers as one file, with this host's kernel and initramfs. Only
 * what is not here is fetched, and layers that another image was made of are not converted again.
 */
export async function assemble(
  remote: RemoteImage,
  described: Described,
  options: AssembleOptions,
): Promise<ImageRecord> {
  try {
    return await assembleAlone(remote, described, options);
  } catch (error) {
    throw diskFull(error, options.places);
  }
}

/** One process at a time makes an image. */
async function assembleAlone(
  remote: RemoteImage,
  described: Described,
  options: AssembleOptions,
): Promise<ImageRecord> {
  const { places, signal, progress } = options;
  const directory = pullDirectory(imagesDirectory(places));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { manifestDigest, reference } = described;
  const source: Source = {
    manifest: manifestDigest,
    layers: [described.manifest.config, ...described.manifest.layers].map(({ digest }) => digest),
    recipe: RECIPE,
  };
  const onWait = (pid: string) => progress(`waiting for process ${pid}, which pulls ${reference.text}`);
  const lock = join(directory, `${manifestDigest.replace("sha256:", "")}.lock`);
  return await withLock(lock, { signal, onWait }, async () => {
    const here = await reassemble(source, options);
    if (here !== undefined) return here;
    const { config, layers } = await remote.fetch(described, { directory: join(directory, "blobs"), signal, progress });
    return await inDraft(directory, async (draft) => {
      const { mostBytes } = options;
      const target = join(draft, "rootfs.ext4");
      const name = reference.text;
      const diffIds = config.rootfs.diff_ids;
      await convert({ name, layers, diffIds, digest: manifestDigest, directory, target, mostBytes, signal, progress });
      return await finish(draft, source, options, await describeFiles(draft, ["rootfs.ext4"]));
    });
  });
}

/** The same root file system with the boot files of now, where an image of it is here; takes no room and no time. */
export async function reassemble(source: Source, options: AssembleOptions): Promise<ImageRecord | undefined> {
  const { places } = options;
  for (const record of await recordsOf(source, places)) {
    if (!(await isWhole(places, record))) continue;
    if (record.digest === assembledDigest(source, options.boot)) return record;
    const { rootfs, files = {} } = record;
    const known = files[rootfs];
    if (known === undefined) continue;
    const directory = pullDirectory(imagesDirectory(places));
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return await inDraft(directory, async (draft) => {
      await link(join(imageDirectory(places, record.digest), rootfs), join(draft, rootfs));
      return await finish(draft, source, options, { [rootfs]: known });
    });
  }
  return undefined;
}

/** Images of the same root file system. */
async function recordsOf({ manifest, recipe }: Source, places: Places): Promise<ImageRecord[]> {
  const found: ImageRecord[] = [];
  for (const name of (await readdir(imagesDirectory(places)).catch(ignore("ENOENT"))) ?? []) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue;
    const record = await readRecord(join(imagesDirectory(places), name)).catch(() => undefined);
    if (record?.source?.manifest === manifest && record.source.recipe === recipe) found.push(record);
  }
  return found;
}

async function inDraft<T>(directory: string, work: (draft: string) => Promise<T>): Promise<T> {
  const outer = await mkdtemp(join(directory, `work-${process.pid}-`));
  try {
    const draft = join(outer, "image");
    await mkdir(draft);
    return await work(draft);
  } finally {
    await rm(outer, { recursive: true, force: true });
  }
}

async function finish(
  draft: string,
  source: Source,
  { places, boot }: AssembleOptions,
  rootfs: NonNullable<ImageRecord["files"]>,
): Promise<ImageRecord> {
  const { kernel, initrd } = boot;
  await link(kernel.vmlinux, join(draft, "vmlinux"));
  await writeFile(join(draft, "initrd"), initrd);
  const record: ImageRecord = {
    digest: assembledDigest(source, boot),
    inputs: sha256(JSON.stringify(source)),
    rootfs: "rootfs.ext4",
    rootfsType: "ext4",
    kernel: "vmlinux",
    initrd: "initrd",
    kernelVersion: kernel.release,
    builtAt: Date.now(),
    source,
    files: { ...rootfs, ...(await describeFiles(draft, ["vmlinux", "initrd"])) },
  };
  await placeImage(draft, record, places);
  return record;
}

function diskFull(error: unknown, { state }: Places): unknown {
  if (!["ENOSPC", "EDQUOT"].includes(systemCode(error) ?? "")) return error;
  return new FireteactError("DISK_FULL", `The disk is full: an image cannot be pulled to ${state}`, {
    hint: "Free some space there, or move the state directory; what has come is kept, and the next try goes on from it",
    cause: error,
  });
}
