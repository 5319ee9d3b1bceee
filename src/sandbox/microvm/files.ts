import { chmod, chown, mkdir, stat } from "node:fs/promises";
import { FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import type { RootDisks } from "../../image/port.ts";
import type { SandboxPlaces } from "./places.ts";

/** Makes the sandbox's scratch disk and returns its path. */
export async function cloneDisk(
  disks: RootDisks,
  hex: string,
  own: SandboxPlaces,
  signal: AbortSignal,
): Promise<string> {
  await mkdir(own.disks, { recursive: true, mode: 0o711 });
  return await disks.clone(hex, own.disks, signal);
}

/** Gives the monitor's user its disk, and a directory for its sockets: all that it may write to. */
export async function giveTo(uid: number, scratch: string, own: SandboxPlaces): Promise<void> {
  await chmod(scratch, 0o600);
  await chown(scratch, uid, uid);
  await mkdir(own.vm, { mode: 0o700 });
  await chown(own.vm, uid, uid);
}

/** Bytes of the largest file that the monitor writes. */
export const sizeOf = async (path: string): Promise<number> => (await stat(path)).size;

/** Stands for every user that monitors run as. */
const NOBODY = 65_534;

/**
 * Makes sure that users without any rights get at the files and into the directory of the disks.
 *
 * @throws FireteactError `NOT_READABLE`
 */
export async function checkReadable(files: readonly string[], diskRoot: string, signal: AbortSignal): Promise<void> {
  await mkdir(diskRoot, { recursive: true, mode: 0o711 });
  for (const [flag, path] of [...files.map((file) => ["-r", file] as const), ["-x", diskRoot] as const]) {
    const user = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    const { code } = await exec("setpriv", [...user, "test", flag, path], { accept: [0, 1], signal });
    if (code === 0) continue;
    throw new FireteactError("NOT_READABLE", `Virtual machine monitors cannot get at ${path}`, {
      hint: "They run as users without rights: make the file readable, and every directory above it passable (chmod o+x)",
    });
  }
}
