import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { parseVersion, type Version } from "./version.ts";

/** Where the original looks, in its order; then in the search path. */
const USUAL = ["/usr/bin/firecracker", "/usr/local/bin/firecracker", "/opt/firecracker/firecracker"];

/** A firecracker binary that can be used. */
export interface Binary {
  /** Absolute. */
  path: string;
  /** As it says, `1.16.1`. */
  text: string;
  version: Version;
}

/**
 * Refuses a host on which no guest can run, whatever is installed.
 *
 * @throws FireteactError `FIRECRACKER_ARCHITECTURE`, `FIRECRACKER_NEEDS_ROOT`
 */
export function requireHost({ arch, uid } = { arch: process.arch as string, uid: process.getuid?.() }): void {
  if (arch !== "x64") {
    throw new FireteactError("FIRECRACKER_ARCHITECTURE", `The firecracker driver cannot make guests on ${arch} yet`, {
      hint: "Run it on an x86-64 host",
    });
  }
  if (uid !== 0) {
    const message = "The firecracker driver needs root: it makes networks, and users for guests";
    throw new FireteactError("FIRECRACKER_NEEDS_ROOT", message, {
      hint: "Start fireteact as root; each virtual machine monitor runs as a user of its own, without rights",
    });
  }
}

/**
 * Finds the binary and asks it for its version.
 *
 * @throws FireteactError `FIRECRACKER_MISSING`, `FIRECRACKER_VERSION`
 */
export async function findBinary(configured: string | undefined, signal: AbortSignal): Promise<Binary> {
  const path = configured ?? USUAL.find((place) => existsSync(place)) ?? (await inSearchPath(signal));
  if (path === undefined || !isAbsolute(path)) throw missing(path ?? "firecracker");
  const { stdout } = await exec(path, ["--version"], { timeout: 10_000, signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw missing(path, error);
  });
  const text = /^Firecracker v?(\S+)/m.exec(stdout)?.[1] ?? stdout.slice(0, 40).trim();
  return { path, text, version: parseVersion(text) };
}

async function inSearchPath(signal: AbortSignal): Promise<string | undefined> {
  const found = await exec("sh", ["-c", "command -v firecracker"], { accept: [0, 1, 127], signal });
  return found.stdout.trim() || undefined;
}

const missing = (path: string, cause?: unknown): FireteactError =>
  new FireteactError("FIRECRACKER_MISSING", `${path} cannot be run`, {
    cause,
    hint: "Install Firecracker (github.com/firecracker-microvm/firecracker/releases), set firecracker.binaryPath, or use driver: qemu",
  });
