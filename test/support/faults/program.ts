import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "../../..");
const DIST = join(ROOT, "dist");

/** Builds the program as it is now, and beside it the daemon that dies on command. Returns the latter's path. */
export async function buildFaultDaemon(): Promise<string> {
  execFileSync(process.execPath, [join(ROOT, "tools/build.ts")], { cwd: ROOT, stdio: "pipe" });
  const outfile = join(DIST, "faults.mjs");
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
