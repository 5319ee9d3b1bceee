import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "../../src/base/exec.ts";

/** A file system of its own that can be filled. */
export interface SmallDisk extends AsyncDisposable {
  path: string;
  /** Takes all that is free. */
  fill(): Promise<void>;
  empty(): void;
}

/** Keeps its content in memory; gone at the end of the scope, whoever still uses it. */
export async function smallDisk(mebibytes: number): Promise<SmallDisk> {
  const path = mkdtempSync(join(tmpdir(), "fireteact-disk-"));
  await exec("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m,mode=755`, "fireteact-test", path]);
  const filler = join(path, "filler");
  return {
    path,
    fill: async () => {
      // Until no byte more fits, whoever else writes meanwhile.
      await exec("dd", ["if=/dev/zero", `of=${filler}`, "bs=64K"], { accept: [1] });
    },
    empty: () => rmSync(filler, { force: true }),
    [Symbol.asyncDispose]: async () => {
      await exec("umount", ["-l", path]);
      rmSync(path, { recursive: true });
    },
  };
}
