import { constants, copyFile, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { FireteactError, ignore, systemCode } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { RootDisks } from "../port.ts";
import { runTool } from "../tool.ts";

export interface RootDisksOptions {
  places: Places;
  /** What a guest may write, in MiB; holes until it does. */
  sizeMib?: number;
}

const DEFAULT_SIZE_MIB = 8 * 1024;
const SCRATCH_FILE = "scratch.ext4";

/** Counts up when the pristine disk's format changes. */
const FORMAT = 1;

/**
 * Scratch disks of guests: clones of an empty ext4 that is made once and never mounted. Where the file system can share
 * blocks (XFS, btrfs) a clone is one system call; elsewhere only the two megabytes that hold data are copied.
 */
export function createRootDisks({ places, sizeMib = DEFAULT_SIZE_MIB }: RootDisksOptions): RootDisks {
  const pristine = join(places.state, "disks", `pristine-${FORMAT}-${sizeMib}MiB.ext4`);
  let ready: Promise<void> | undefined;
  /** Set once sharing blocks has failed between these two places. */
  let mustCopy = false;

  return {
    async clone(_hex, directory, signal) {
      ready ??= makePristine(pristine, sizeMib);
      await ready.catch((error: unknown) => {
        ready = undefined;
        throw error;
      });
      signal.throwIfAborted();
      const target = join(directory, SCRATCH_FILE);
      if (!mustCopy) mustCopy = !(await reflink(pristine, target));
      if (mustCopy) await runTool("cp", ["--sparse=always", "--", pristine, target], { signal });
      return target;
    },
  };
}

/** Shares the blocks; false where the file system cannot. */
async function reflink(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    // Node leaves the empty target of a failed clone.
    await rm(to, { force: true });
    if (["ENOTSUP", "EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY", "ENOSYS"].includes(systemCode(error) ?? ""))
      return false;
    throw error;
  }
}

/** Makes the disk unless it is here; several processes may do so at once, since it appears by rename. */
async function makePristine(path: string, sizeMib: number): Promise<void> {
  if ((await stat(path).catch(ignore("ENOENT"))) !== undefined) return;
  await mkdir(join(path, ".."), { recursive: true });
  const draft = `${path}.${process.pid}`;
  try {
    const file = await open(draft, "w", 0o600);
    await file.truncate(sizeMib * 1024 * 1024);
    await file.close();
    // No journal: nothing on this disk outlives its guest. Inode tables stay unwritten; the guest mounts accordingly.
    const features = "^has_journal,^resize_inode";
    const options = "lazy_itable_init=1,nodiscard";
    // A clone that several callers wait for is not aborted by one of them; it takes milliseconds.
    const { signal } = new AbortController();
    await runTool("mkfs.ext4", ["-q", "-F", "-m", "0", "-O", features, "-E", options, draft], { signal });
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    if (systemCode(error) !== "ENOSPC") throw error;
    throw new FireteactError("DISK_FULL", `The disk is full: no scratch disk can be made in ${join(path, "..")}`, {
      hint: "Free some space there, or move the state directory",
      cause: error,
    });
  }
}
