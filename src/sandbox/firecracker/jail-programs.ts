import { accessSync, closeSync, constants, openSync, readSync, realpathSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { exec, SEARCH_PATH } from "../../base/exec.ts";

/** A firecracker binary and the jailer that belongs to it; absent means searched. */
export interface JailPrograms {
  binary: string;
  jailer?: string;
}

const USUAL_PLACES = ["/usr/bin", "/usr/local/bin", "/opt/firecracker"];

/**
 * The jailer for a firecracker binary: beside it, named as releases name theirs (`firecracker-v1.16.1-x86_64` and
 * `jailer-v1.16.1-x86_64`), else in the usual places and PATH.
 *
 * @throws FireteactError `JAILER_MISSING`
 */
export function findJailer({ binary, jailer }: JailPrograms): string {
  const resolved = realpathSync(binary);
  const sibling = basename(resolved).replace("firecracker", "jailer");
  const places = [dirname(resolved), dirname(binary), ...USUAL_PLACES, ...SEARCH_PATH.split(delimiter)];
  const found =
    jailer === undefined
      ? [join(dirname(resolved), sibling), ...places.map((place) => join(place, "jailer"))].find(isProgram)
      : [jailer].find(isProgram);
  if (found !== undefined && found !== resolved) return found;
  throw new FireteactError("JAILER_MISSING", `There is no jailer for ${binary}${jailer ? `: not ${jailer}` : ""}`, {
    hint: "Every release of Firecracker has one: put it beside the firecracker binary, or set firecracker.jailerPath",
  });
}

/**
 * Makes sure that both are of one release, and that the binary can run where there are no libraries.
 *
 * @throws FireteactError `JAILER_MISSING`, `JAILER_UNUSABLE`
 */
export async function checkPrograms(programs: JailPrograms, signal: AbortSignal): Promise<string> {
  const jailer = findJailer(programs);
  const interpreter = interpreterOf(programs.binary);
  if (interpreter !== undefined) {
    throw new FireteactError(
      "JAILER_UNUSABLE",
      `${programs.binary} needs libraries (${interpreter}), and a jail has none`,
      {
        hint: "Install the static binary of Firecracker's release, or set firecracker.jailer to false",
      },
    );
  }
  const [jail, monitor] = await Promise.all([versionOf(jailer, signal), versionOf(programs.binary, signal)]);
  if (jail !== monitor) {
    throw new FireteactError(
      "JAILER_UNUSABLE",
      `${jailer} is of version ${jail}, and ${programs.binary} of ${monitor}`,
      {
        hint: "Take both from one release of Firecracker",
      },
    );
  }
  return jail;
}

async function versionOf(program: string, signal: AbortSignal): Promise<string> {
  const { stdout } = await exec(program, ["--version"], { timeout: 10_000, signal }).catch((error: unknown) => {
    throw new FireteactError("JAILER_UNUSABLE", `${program} cannot be run`, {
      cause: error,
      hint: "Take firecracker and jailer from a release of Firecracker for this processor",
    });
  });
  return /\bv(\d+\.\d+\.\d+\S*)/.exec(stdout)?.[1] ?? "unknown";
}

/** ELF's word for the entry that names the program's loader. */
const PT_INTERP = 3;

/** The loader that a dynamic program needs; undefined for a static one and for what is no 64-bit ELF file. */
export function interpreterOf(path: string): string | undefined {
  const file = openSync(path, "r");
  try {
    const read = (position: number, length: number): Buffer => {
      const buffer = Buffer.alloc(length);
      return buffer.subarray(0, readSync(file, buffer, 0, length, position));
    };
    const header = read(0, 64);
    if (header.length < 64 || header.toString("latin1", 0, 5) !== "\x7fELF\x02") return undefined;
    const [start, size, count] = [Number(header.readBigUInt64LE(32)), header.readUInt16LE(54), header.readUInt16LE(56)];
    for (let index = 0; index < count; index++) {
      const entry = read(start + index * size, 56);
      if (entry.length < 56 || entry.readUInt32LE(0) !== PT_INTERP) continue;
      const length = Math.min(Number(entry.readBigUInt64LE(32)), 4_096);
      return read(Number(entry.readBigUInt64LE(8)), length)
        .toString("latin1")
        .replace(/\0.*$/s, "");
    }
    return undefined;
  } finally {
    closeSync(file);
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Absent, or not for us: it is looked for in the next place.
    return false;
  }
}
