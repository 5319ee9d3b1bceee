import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ignore } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { BRIDGE, NAMESPACE_PREFIX, NFT_TABLE, type Places } from "../../base/names.ts";

/**
 * Looks at the system itself, not at our records: whatever is still there of sandboxes that should be gone.
 * @returns one line for each thing found
 */
export async function findLeftovers(places: Places): Promise<string[]> {
  return [
    ...processesOf(places),
    ...(await interfaces()),
    ...namesIn("/run/netns")
      .filter((name) => name.startsWith(NAMESPACE_PREFIX))
      .map((name) => `network namespace ${name}`),
    ...(await tables()),
    ...namesIn(join(places.run, "sandboxes")).map((name) => `sandbox directory ${name}`),
    ...namesIn(join(places.run, "network")).map((name) => `network claim ${name}`),
    // Beside them lie the empty disks that they are clones of.
    ...namesIn(join(places.state, "disks"))
      .filter((name) => !name.startsWith("pristine-"))
      .map((name) => `disk directory ${name}`),
  ];
}

/** Processes that were started for sandboxes below these places. */
function processesOf(places: Places): string[] {
  return namesIn("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    const command = readText(`/proc/${pid}/cmdline`).replaceAll("\0", " ");
    const own = command.includes(`${places.run}/`) || command.includes(`${places.state}/disks`);
    return own && /qemu-system|\/shim /.test(command) ? [`process ${pid}: ${command.slice(0, 80)}`] : [];
  });
}

async function interfaces(): Promise<string[]> {
  const { stdout } = await exec("ip", ["-json", "link"]);
  const names = (JSON.parse(stdout) as { ifname: string }[]).map(({ ifname }) => ifname);
  return names.filter((name) => name === BRIDGE || /^ftv\d/.test(name)).map((name) => `interface ${name}`);
}

async function tables(): Promise<string[]> {
  const { stdout } = await exec("nft", ["list", "tables"]);
  const own = new RegExp(`^table \\S+ ${NFT_TABLE}`);
  return stdout
    .split("\n")
    .filter((line) => own.test(line))
    .map((line) => `nftables ${line}`);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return ignore("ENOENT", "ESRCH", "EACCES")(error) ?? "";
  }
}
