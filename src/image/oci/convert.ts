import { mkdtemp, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { packExt4, type TreeSize } from "../build/pack.ts";
import { requireAgent } from "./guest.ts";
import { openLayers } from "./layers.ts";
import type { Tree } from "./tree.ts";
import { placedIn, unpackTree } from "./unpack.ts";

export interface ConvertOptions {
  /** Name of the image, for messages. */
  name: string;
  /** The layers' files in their order, and the digests of what they unpack to. */
  layers: readonly string[];
  diffIds: readonly string[];
  /** Identifies the content: the file system's own identifiers are made from it. */
  digest: string;
  /** Where the work is done, in a directory that goes again. */
  directory: string;
  target: string;
  mostBytes: number;
  signal: AbortSignal;
  progress: (line: string) => void;
}

/**
 * Writes the layers of an image as one ext4 file, without mounting anything. Nothing that an image says becomes a path
 * of this host before all layers are applied in memory. Root only, for the sake of owners and devices.
 *
 * @throws FireteactError `IMAGE_INVALID`, `IMAGE_TOO_LARGE`, `IMAGE_NO_AGENT`, `DISK_FULL`, `NOT_ROOT`
 */
export async function convert(options: ConvertOptions): Promise<void> {
  const { signal, progress, name } = options;
  if (process.getuid?.() !== 0) {
    throw new FireteactError("NOT_ROOT", "Only root can take an image apart: its files belong to several users", {
      hint: "Run it with sudo",
    });
  }
  const work = await mkdtemp(join(options.directory, `work-${process.pid}-`));
  try {
    progress(`unpacking ${name}`);
    const size = await unpack(options, work);
    progress(`writing the root file system of ${name}`);
    await packExt4(join(work, "tree"), options.target, options.digest, signal, size);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function unpack(options: ConvertOptions, work: string): Promise<TreeSize> {
  const { signal, mostBytes } = options;
  await using layers = await openLayers(options.layers, options.diffIds, { work, mostBytes, signal });
  requireAgent(layers.tree, options.name);
  const size = sizeOf(layers.tree, mostBytes);
  await requireSpace(work, size.bytes);
  await unpackTree(layers, join(work, "tree"), signal);
  // The archives make room for the image.
  for (const index of layers.archives.keys()) await rm(join(work, `layer-${index}.tar`));
  return size;
}

const BLOCK = 4_096;

function sizeOf(tree: Tree, mostBytes: number): TreeSize {
  let bytes = 0;
  let entries = 0;
  for (const { node } of placedIn(tree)) {
    entries++;
    const content = node.kind === "directory" ? node.children.size * 64 : node.entry.size;
    bytes += Math.max(Math.ceil(content / BLOCK), 1) * BLOCK;
    const { xattrs } = node.entry ?? {};
    if (xattrs !== undefined && xattrs.size > 0) bytes += BLOCK;
  }
  // Names of one file count each, so this is the most it can be.
  return { bytes: Math.min(bytes, mostBytes + entries * BLOCK), entries };
}

/** Says so before minutes of work, rather than after. */
async function requireSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize > bytes) return;
  throw new FireteactError("DISK_FULL", `The disk is full: the image unpacks to ${Math.ceil(bytes / 2 ** 20)} MiB`, {
    hint: `Free some space in ${directory}, or move the state directory`,
  });
}

/** Host processes of the work directories that lie there; those of dead ones are left over. */
export const workPid = (entry: string): number | undefined => {
  const pid = /^work-(\d{1,10})-/.exec(entry)?.[1];
  return pid === undefined ? undefined : Number(pid);
};
