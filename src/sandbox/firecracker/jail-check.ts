import { existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { canShow, unfitMount } from "./jail-files.ts";
import { makeBase } from "./jail-places.ts";
import { checkPrograms, type JailPrograms } from "./jail-programs.ts";

interface JailCheck {
  base: string;
  sources: readonly string[];
  programs: readonly JailPrograms[];
}

/** Whether jails can be made here, found out without making one. */
export async function checkJails(
  { base, sources, programs }: JailCheck,
  signal: AbortSignal,
): Promise<{ ok: boolean; detail: string; hint?: string }> {
  try {
    if (process.getuid?.() !== 0)
      throw unusable("jails need root", "Run as root; each monitor gives its rights up again");
    const versions = new Set<string>();
    for (const one of programs) versions.add(await checkPrograms(one, signal));
    const unfit = unfitMount(realpathSync(existing(base)), readFileSync("/proc/self/mountinfo", "utf8"));
    if (unfit !== undefined) {
      throw unusable(
        `no jail works in ${base}: ${unfit}`,
        "Mount it with dev and exec, or set host.jailDir to another directory",
      );
    }
    // A host where nothing of ours is yet is left so.
    const hasPlaces = [base, ...sources].every((place) => existsSync(dirname(place)));
    if (hasPlaces) makeBase(base);
    for (const source of hasPlaces ? sources : []) {
      mkdirSync(source, { recursive: true });
      if (await canShow(source, base)) continue;
      throw unusable(
        `${source} and ${base} are on different file systems, and large files are not copied`,
        "Set host.jailDir to a directory on the file system of images and disks",
      );
    }
    return { ok: true, detail: `jailed in ${base} (jailer ${[...versions].join(", ")})` };
  } catch (error) {
    if (!(error instanceof FireteactError)) throw error;
    return { ok: false, detail: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  }
}

/** The directory itself or the nearest one above it that exists. */
const existing = (path: string): string => (existsSync(path) ? path : existing(dirname(path)));

const unusable = (message: string, hint: string): FireteactError =>
  new FireteactError("JAILER_UNUSABLE", message, { hint });
