import { existsSync, mkdirSync, readdirSync, readlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ignore } from "../../base/errors.ts";
import { HEX } from "../microvm/places.ts";

/** Where one jail lies. The layout is the jailer's: `<base>/<name of the binary>/<id>/root`. */
export interface JailPlaces {
  /** Holds nothing but `root`; removed with all that is in it. */
  directory: string;
  /** The only directory that the monitor sees. */
  root: string;
  /** The host's files that are shown to the monitor, which cannot change what is here. */
  files: string;
  /** Holds the monitor's sockets and logs. The sandbox's own `vm` is a link to it, so that socket paths stay short. */
  vm: string;
}

/** @param binary Without symbolic links: the jailer follows them before it takes the name. */
export function jailPlaces(base: string, binary: string, hex: string): JailPlaces {
  const directory = join(base, basename(binary), hex);
  const root = join(directory, "root");
  return { directory, root, files: join(root, "files"), vm: join(root, "vm") };
}

/** Makes the directory of jails, into which nobody but root gets from outside. */
export function makeBase(base: string): void {
  mkdirSync(dirname(base), { recursive: true });
  mkdirSync(base, { recursive: true, mode: 0o700 });
}

/** Every jail here, by the hex of its sandbox, whichever binary it was made for. */
export function jailsIn(base: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const binary of namesIn(base)) {
    for (const hex of namesIn(join(base, binary)).filter((name) => HEX.test(name))) {
      found.set(hex, [...(found.get(hex) ?? []), join(base, binary, hex)]);
    }
  }
  return found;
}

/** The jail that a sandbox's `vm` leads to, also where jails are made somewhere else by now. */
export function jailBehind(vm: string, hex: string): string | undefined {
  try {
    const jail = dirname(dirname(readlinkSync(vm)));
    return basename(jail) === hex && existsSync(jail) ? jail : undefined;
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR", "EINVAL")(error);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR")(error) ?? [];
  }
}
