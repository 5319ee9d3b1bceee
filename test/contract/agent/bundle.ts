import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll } from "vitest";

const root = join(import.meta.dirname, "../../..");

/** Builds programs as images carry them, once a test file; returns their folder, which lives as long as the file's tests. */
export async function bundle(programs: Record<string, string>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "agent-bundle-"));
  // The engine runs as another user.
  chmodSync(folder, 0o755);
  afterAll(() => rmSync(folder, { recursive: true }));
  for (const [name, entry] of Object.entries(programs)) {
    const outfile = join(folder, `${name}.cjs`);
    await build({
      entryPoints: [join(root, entry)],
      outfile,
      bundle: true,
      platform: "node",
      target: "node24",
      format: "cjs",
      logLevel: "warning",
    });
  }
  return folder;
}
