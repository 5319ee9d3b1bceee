import { link, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError, systemCode } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { collectLocked } from "../collect.ts";
import { type GuestKernel, guestKernel } from "../kernel/debian.ts";
import { GUEST_MODULES, loadOrder } from "../kernel/modules.ts";
import { withLock } from "../lock.ts";
import type { GuestImage } from "../port.ts";
import { isWhole, placeImage } from "../publish.ts";
import {
  describeFiles,
  type ImageRecord,
  imagesDirectory,
  isDamage,
  readReference,
  toImage,
  writeReference,
} from "../record.ts";
import { runTool } from "../tool.ts";
import { baseArchive, baseKey, baseSpec } from "./base.ts";
import { buildInitrd, readBusybox } from "./initrd.ts";
import { fileSha256, sha256, treeManifest } from "./manifest.ts";
import { packExt4 } from "./pack.ts";
import { applyTop, isMissing, type TopSources, topFiles, topKey, WHOLE_PROGRAM } from "./top.ts";

/** What an image is made of. */
export interface ImageSources extends TopSources {
  /** Debian packages beyond git, bash and certificates. */
  packages?: readonly string[];
  /** Debian archive to install from; Debian's own where none is given. */
  mirror?: string;
}

export interface BuildOptions {
  places: Places;
  signal: AbortSignal;
  /** One line for people, at each step that takes longer than a moment. */
  progress: (line: string) => void;
  /** Name of the image, `default` where none is given. */
  name?: string;
  /** Fetches the current kernel and packages even when nothing else changed. */
  refresh?: boolean;
}

export interface BuiltImage {
  image: GuestImage;
  /** False when the image of these inputs was here already. */
  changed: boolean;
  /** Bytes of the root file system on disk. */
  bytes: number;
  milliseconds: number;
}

/** Part of every input digest: counts up when the way of building changes without any input changing. */
const RECIPE = 1;

/**
 * Builds a guest image and publishes it under its name; does nothing when the image of the same inputs is here. One
 * build at a time per host; a crash or an abort leaves the old image in place.
 *
 * Root only: Debian's packages are installed in a chroot, with their owners.
 */
export async function buildImage(sources: ImageSources, options: BuildOptions): Promise<BuiltImage> {
  if (process.getuid?.() !== 0) {
    throw new FireteactError("NOT_ROOT", "Only root can build a guest image: its packages are installed in a chroot", {
      hint: "Run it with sudo",
    });
  }
  const started = performance.now();
  const { places, signal, progress } = options;
  const onWait = (pid: string): void => progress(`waiting for the build that process ${pid} is doing`);
  try {
    const { record, changed } = await withLock(join(imagesDirectory(places), "lock"), { signal, onWait }, () =>
      buildLocked(sources, options),
    );
    const image = toImage(places, record);
    const bytes = (await stat(image.rootfs)).blocks * 512;
    return { image, changed, bytes, milliseconds: performance.now() - started };
  } catch (error) {
    throw diskFull(error, places);
  }
}

async function buildLocked(
  sources: ImageSources,
  options: BuildOptions,
): Promise<{ record: ImageRecord; changed: boolean }> {
  const { places, signal, progress, name = "default", refresh = false } = options;
  const files = await topFiles(sources);
  const spec = baseSpec(sources.packages, sources.mirror);
  const busybox = await readBusybox();
  const initFile = join(sources.files, "initrd", "init");
  const init = await readFile(initFile).catch(isMissing(initFile, WHOLE_PROGRAM));
  const kernel = await guestKernel({ places, signal, progress, refresh });
  const top = await topKey(files);
  await collectLocked(places);
  const base = await baseArchive(spec, { places, signal, progress, refresh });
  const inputs = sha256(
    JSON.stringify([RECIPE, baseKey(spec), base.version, top, kernel.sha256, sha256(busybox), init.toString()]),
  );
  const here = await readReference(places, name).catch((error: unknown) => {
    if (!isDamage(error)) throw error;
    return undefined;
  });
  if (here?.inputs === inputs && (await isWhole(places, here))) return { record: here, changed: false };

  const work = await mkdtemp(join(imagesDirectory(places), "new-"));
  try {
    progress("assembling the image");
    const tree = join(work, "tree");
    await mkdir(tree);
    await runTool(
      "tar",
      ["--extract", "--numeric-owner", "--preserve-permissions", "--file", base.path, "--directory", tree],
      { signal },
    );
    await applyTop(tree, files, signal);

    const draft = join(work, "image");
    await mkdir(draft);
    const modules = await loadOrder(kernel.modules, GUEST_MODULES);
    await writeFile(join(draft, "initrd"), buildInitrd({ busybox, init, modules, rootfsType: "ext4" }));
    const digest = await writeManifest(tree, draft, kernel);
    progress("writing the root file system");
    await packExt4(tree, join(draft, "rootfs.ext4"), digest, signal);
    const record = await publish(draft, { digest, inputs, kernel, places, name });
    return { record, changed: record.digest !== here?.digest };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Writes manifest.txt, whose digest is the image's. */
async function writeManifest(tree: string, draft: string, kernel: GuestKernel): Promise<string> {
  const lines = [
    `kernel ${kernel.sha256} ${kernel.release} ${kernel.packageVersion}`,
    `initrd ${await fileSha256(join(draft, "initrd"))}`,
    ...(await treeManifest(tree)),
  ];
  const text = `${lines.join("\n")}\n`;
  await writeFile(join(draft, "manifest.txt"), text);
  return `sha256:${sha256(text)}`;
}

interface Publication {
  digest: string;
  inputs: string;
  kernel: GuestKernel;
  places: Places;
  name: string;
}

async function publish(draft: string, { digest, inputs, kernel, places, name }: Publication): Promise<ImageRecord> {
  // A link, so that the image is whole when the kernel's cache is cleared, at no cost.
  await link(kernel.vmlinux, join(draft, "vmlinux"));
  const record: ImageRecord = {
    digest,
    inputs,
    rootfs: "rootfs.ext4",
    rootfsType: "ext4",
    kernel: "vmlinux",
    initrd: "initrd",
    kernelVersion: kernel.release,
    builtAt: Date.now(),
    files: await describeFiles(draft, ["rootfs.ext4", "vmlinux", "initrd"]),
  };
  await placeImage(draft, record, places);
  await writeReference(places, name, digest);
  return record;
}

function diskFull(error: unknown, places: Places): unknown {
  if (systemCode(error) === "EROFS") {
    return new FireteactError(
      "IMAGE_STORE_READONLY",
      `No guest image can be kept in ${places.state}: it is read-only`,
      {
        hint: "mount it writable again (see dmesg: a file system with errors becomes read-only)",
        cause: error,
      },
    );
  }
  if (systemCode(error) !== "ENOSPC") return error;
  return new FireteactError("DISK_FULL", `The disk is full: a guest image needs about 1 GB in ${places.state}`, {
    hint: "Free some space there, or move the state directory",
    cause: error,
  });
}
