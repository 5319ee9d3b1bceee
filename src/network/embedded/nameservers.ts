import { readFile } from "node:fs/promises";
import { isIPv4 } from "node:net";
import { ignore } from "../../base/errors.ts";

/** Where a host writes its name servers; the second is what systemd-resolved forwards to. */
const FILES = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/** A resolver reads no more. */
const MOST = 3;

/** The host's name servers that a guest can reach too: IPv4 and not loopback. */
export async function hostNameservers(files: string[] = FILES): Promise<string[]> {
  for (const file of files) {
    const servers = reachableNameservers((await readFile(file, "utf8").catch(ignore("ENOENT", "EACCES"))) ?? "");
    if (servers.length > 0) return servers;
  }
  return [];
}

export function reachableNameservers(text: string): string[] {
  const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1] ?? "");
  return [...new Set(servers)].filter((server) => isIPv4(server) && !/^(127|0)\./.test(server)).slice(0, MOST);
}
