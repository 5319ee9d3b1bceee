import { readdir, readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import * as z from "zod";
import { ignore } from "../../base/errors.ts";
import type { ConfList } from "./conf-list.ts";

const Ipam = z.object({ type: z.literal("host-local"), dataDir: z.string().default("/var/lib/cni/networks") });

/**
 * Which guests have addresses from host-local: a file for each address names its holder. It forgets none by itself, so
 * that those of guests whose host died stay taken until somebody releases them.
 */
export async function leaseHolders(list: ConfList): Promise<string[]> {
  const holders = new Set<string>();
  for (const plugin of list.plugins) {
    const ipam = Ipam.safeParse(plugin["ipam"]);
    if (!ipam.success) continue;
    const directory = join(ipam.data.dataDir, list.name);
    const names = (await readdir(directory).catch(ignore("ENOENT"))) ?? [];
    for (const name of names.filter((name) => isIP(name) !== 0)) {
      const content = (await readFile(join(directory, name), "utf8").catch(ignore("ENOENT", "EISDIR"))) ?? "";
      const [holder = ""] = content.split(/\r?\n/);
      if (/^[0-9a-f]{24}$/.test(holder)) holders.add(holder);
    }
  }
  return [...holders];
}
