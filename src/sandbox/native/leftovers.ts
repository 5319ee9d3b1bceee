import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ignore } from "../../base/errors.ts";

const HEX = /^[0-9a-f]{24}$/;

/** Sandboxes that have a file or directory of their name here. */
export const hexesIn = (directory: string): string[] => namesIn(directory).filter((name) => HEX.test(name));

/** Every work directory, by `<pool>/<hex>`. */
export function workDirectories(cache: string): { pool: string; hex: string }[] {
  return namesIn(cache).flatMap((pool) => hexesIn(join(cache, pool)).map((hex) => ({ pool, hex })));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR", "EACCES")(error) ?? [];
  }
}
