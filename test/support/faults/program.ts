import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { atExit } from "../../../src/base/at-exit.ts";

const ROOT = join(import.meta.dirname, "../../..");

/** Where images are built from. */
export const DIST = join(ROOT, "dist");

/**
 * Builds the program as it is now, and beside it the daemon that dies on command. Returns the latter's path.
 *
 * @param directory default: one that is gone with this process
 */
export async function buildFaultDaemon(directory = ownDirectory()): Promise<string> {
  execFileSync(process.execPath, [join(ROOT, "tools/build.ts"), directory], { cwd: ROOT, stdio: "pipe" });
  const outfile = join(directory, "faults.mjs");
  await build({
    entryPoints: [join(ROOT, "test/faults/daemon.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    // Libraries in it still ask for `require`.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    logLevel: "warning",
  });
  return outfile;
}

function ownDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-build-"));
  atExit(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
