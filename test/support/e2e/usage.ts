import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ignore } from "../../../src/base/errors.ts";
import { PLACES } from "./host.ts";

/** What one guest and the daemon take of the host, bytes. */
export interface Usage {
  console: number;
  log: number;
  daemon: number;
}

export function usageOf(hex: string, daemon: number): Usage {
  const status = readFileSync(`/proc/${daemon}/status`, "utf8");
  return {
    console: sizeOf(join(PLACES.run, "sandboxes", hex, "console")),
    log: sizeOf(join(PLACES.state, "logs"), hex),
    daemon: 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]),
  };
}

/** Bytes of the files of a directory whose names begin like that; they may go away meanwhile. */
function sizeOf(directory: string, prefix = ""): number {
  try {
    return readdirSync(directory)
      .filter((name) => name.startsWith(prefix))
      .map((name) => statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0)
      .reduce((sum, size) => sum + size, 0);
  } catch (error) {
    ignore("ENOENT")(error);
    return 0;
  }
}
