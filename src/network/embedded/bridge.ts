import { writeFile } from "node:fs/promises";
import * as z from "zod";
import { FireteactError, ignore } from "../../base/errors.ts";
import { BRIDGE } from "../../base/names.ts";
import type { Commands } from "./commands.ts";
import { BRIDGE_MAC, type Layout } from "./layout.ts";
import { formatCidr, overlaps, parseCidr } from "./subnet.ts";

const Link = z.object({
  ifname: z.string(),
  address: z.string().optional(),
  linkinfo: z.object({ info_kind: z.string().optional() }).optional(),
  addr_info: z.array(z.object({ family: z.string(), local: z.string(), prefixlen: z.number() })).optional(),
});
const Routes = z.array(z.object({ dst: z.string(), dev: z.string().optional() }));

/**
 * Makes the bridge or takes over the one that is there; throws where its name or its subnet is somebody else's. The MAC
 * marks it as ours, since it is the one mark that a bridge has from its first moment.
 */
export async function ensureBridge(commands: Commands, layout: Layout): Promise<void> {
  await refuseClashes(commands, layout);
  const address = `${layout.gateway}/${layout.subnet.prefix}`;
  if ((await findBridge(commands)) === undefined) {
    await commands.ip([`link add ${BRIDGE} address ${BRIDGE_MAC} type bridge mcast_snooping 0`]);
  }
  await commands.ip([
    `link set ${BRIDGE} addrgenmode none`,
    `addr replace ${address} dev ${BRIDGE}`,
    `link set ${BRIDGE} up`,
  ]);
  await writeFile(`/proc/sys/net/ipv6/conf/${BRIDGE}/disable_ipv6`, "1").catch(ignore("ENOENT"));
  await writeFile(`/proc/sys/net/ipv4/conf/${BRIDGE}/rp_filter`, "1");
}

export async function removeBridge(commands: Commands): Promise<void> {
  const link = await findBridge(commands);
  if (link?.address === BRIDGE_MAC) await commands.ip([`link del ${BRIDGE}`]);
}

/** Whether our name and subnet are free or ours. Changes nothing. */
export async function refuseClashes(commands: Commands, layout: Layout): Promise<void> {
  const link = await findBridge(commands);
  if (link !== undefined) refuseForeign(link, layout);
  const routes = Routes.parse(await commands.ipJson(["-4", "route", "show", "table", "main"]));
  const clash = routes.find(({ dst, dev }) => {
    const other = parseCidr(dst);
    return dev !== BRIDGE && other !== undefined && overlaps(other, layout.subnet);
  });
  if (clash === undefined) return;
  throw new FireteactError(
    "NETWORK_SUBNET_IN_USE",
    `the guests' subnet ${formatCidr(layout.subnet)} overlaps the route ${clash.dst}${clash.dev === undefined ? "" : ` on ${clash.dev}`}`,
    { hint: "set network.subnet to a network that nothing else uses" },
  );
}

function refuseForeign(link: z.infer<typeof Link>, layout: Layout): void {
  if (link.linkinfo?.info_kind !== "bridge" || link.address !== BRIDGE_MAC) {
    throw new FireteactError("NETWORK_NAME_IN_USE", `an interface "${BRIDGE}" exists that Fireteact did not make`, {
      hint: `look at "ip -d link show ${BRIDGE}"; if nothing needs it, remove it with "ip link del ${BRIDGE}"`,
    });
  }
  const other = link.addr_info?.find(({ family, local }) => family === "inet" && local !== layout.gateway);
  if (other === undefined) return;
  throw new FireteactError(
    "NETWORK_SUBNET_CHANGED",
    `"${BRIDGE}" still has the address ${other.local}/${other.prefixlen}, but the configured subnet is ${formatCidr(layout.subnet)}`,
    { hint: `drain this host and remove the bridge with "ip link del ${BRIDGE}", or set network.subnet back` },
  );
}

async function findBridge(commands: Commands): Promise<z.infer<typeof Link> | undefined> {
  const links = z.array(Link).parse(await commands.ipJson(["-d", "address", "show"]));
  return links.find(({ ifname }) => ifname === BRIDGE);
}
