import * as z from "zod";
import { FireteactError } from "../../base/errors.ts";
import type { Chain } from "./chain.ts";
import type { ConfList } from "./conf-list.ts";
import { requirePlugin, runPlugin } from "./plugin.ts";

const Version = z.object({ supportedVersions: z.array(z.string()).max(100) });

/**
 * Whether the plugins of a list are there, know its version and feel able, without changing anything.
 * @throws FireteactError `CNI_PLUGIN_MISSING`, `CNI_VERSION_UNSUPPORTED` or what a plugin says
 */
export async function checkPlugins(
  list: ConfList,
  file: string,
  binDir: string,
  chain: Chain,
): Promise<{ detail: string; hint?: string }> {
  const types = list.plugins.map(({ type }) => type);
  const ipams = list.plugins.map(({ ipam }) => z.object({ type: z.string() }).safeParse(ipam).data?.type);
  for (const plugin of new Set([...types, ...ipams])) {
    if (plugin === undefined || plugin === "") continue;
    await requirePlugin(binDir, plugin);
    await requireVersion(list, plugin, binDir);
  }
  await chain.status();
  const detail = `CNI ${list.cniVersion}, ${file}: ${types.join(", ")}`;
  if (types.includes("tc-redirect-tap")) return { detail };
  return { detail, hint: "no tc-redirect-tap in the list: guests need a plugin that makes them a tap" };
}

async function requireVersion(list: ConfList, plugin: string, binDir: string): Promise<void> {
  const { cniVersion } = list;
  const printed = await runPlugin({ binDir, command: "VERSION", plugin, config: { cniVersion }, timeout: 10_000 });
  const known = Version.safeParse(printed).data?.supportedVersions;
  if (known?.includes(cniVersion) !== false) return;
  throw new FireteactError(
    "CNI_VERSION_UNSUPPORTED",
    `the CNI plugin "${plugin}" does not know version ${cniVersion} of the specification`,
    { hint: `set cniVersion to one of ${known.join(", ").slice(0, 200)}, or install newer plugins` },
  );
}
