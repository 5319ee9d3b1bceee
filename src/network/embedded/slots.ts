import { readdir } from "node:fs/promises";
import * as z from "zod";
import { FireteactError, ignore } from "../../base/errors.ts";
import { BRIDGE } from "../../base/names.ts";
import type { Commands } from "./commands.ts";
import {
  INNER_GATEWAY,
  INNER_PREFIX,
  type Layout,
  METADATA_ADDRESS,
  NAMESPACES,
  type Slot,
  slotOfNamespace,
  slotOfPort,
  TAP,
  TAP_MAC,
  UPLINK,
} from "./layout.ts";
import { namespaceRules } from "./rules.ts";

/** Makes a slot's namespace with all that is in it: two processes. What a failure leaves is taken away again. */
export async function createSlot(commands: Commands, layout: Layout, slot: Slot): Promise<void> {
  try {
    await commands.ip([`netns add ${slot.namespace}`, ...uplink(slot), ...enslave(slot.port)]);
    await commands.furnish(slot.namespace, interior(layout, slot), namespaceRules(layout, slot));
  } catch (error) {
    await destroySlots(commands, layout, [slot]);
    throw error;
  }
}

/**
 * Takes slots away in one process, whatever of them is there. The port goes first: a namespace lives on while a process
 * is in it, and must have no way out by then.
 */
export async function destroySlots(commands: Commands, layout: Layout, slots: Slot[]): Promise<void> {
  if (slots.length === 0) return;
  if (await commands.ipForce(slots.flatMap((slot) => [`link del ${slot.port}`, `netns del ${slot.namespace}`]))) return;
  const left = await existingSlots(commands, layout);
  const stuck = slots.filter(({ number }) => left.has(number)).map(({ namespace, port }) => `${namespace} (${port})`);
  if (stuck.length === 0) return;
  throw new FireteactError("NETWORK_NOT_REMOVED", `namespaces could not be removed: ${stuck.join(", ")}`, {
    hint: 'see what "ip netns del" and "ip link del" say to them; it is tried again with the next release',
  });
}

/** Makes the way out of a slot anew, with another end in its namespace; what is in it goes on. */
export async function makeUplink(commands: Commands, layout: Layout, slot: Slot): Promise<void> {
  await commands.ip([...uplink(slot), ...enslave(slot.port)]);
  await commands.furnish(slot.namespace, uplinkInterior(layout, slot), renewed(namespaceRules(layout, slot)));
}

/** Replaces the rules inside a slot's namespace, all at once. */
export async function renewRules(commands: Commands, layout: Layout, slot: Slot): Promise<void> {
  await commands.nftIn(slot.namespace, renewed(namespaceRules(layout, slot)));
}

/** Nothing but our rules is in there. */
const renewed = (rules: string): string => `flush ruleset\n${rules}`;

/** Makes a port an isolated one of the bridge: it reaches the bridge itself and no other port. */
export const enslave = (port: string): string[] => [
  `link set ${port} master ${BRIDGE}`,
  `link set ${port} type bridge_slave isolated on`,
  `link set ${port} up`,
];

/** The numbers of all slots of which anything is there. */
export async function existingSlots(commands: Commands, layout: Layout): Promise<Set<number>> {
  const [namespaces, ports] = await Promise.all([namespaceSlots(layout), portSlots(commands)]);
  return new Set([...namespaces, ...ports]);
}

export async function namespaceSlots(layout: Layout): Promise<Set<number>> {
  const names = (await readdir(NAMESPACES).catch(ignore("ENOENT"))) ?? [];
  return new Set(names.map((name) => slotOfNamespace(layout, name)).filter((number) => number !== undefined));
}

async function portSlots(commands: Commands): Promise<number[]> {
  const links = z
    .array(z.object({ ifname: z.string() }))
    .parse(await commands.ipJson(["link", "show", "type", "veth"]));
  return links.map((link) => slotOfPort(link.ifname)).filter((number) => number !== undefined);
}

/**
 * The metadata address is the tap's too, for guests that have a route for it without a gateway and ask for its MAC; the
 * redirection comes before routing.
 */
function interior(layout: Layout, slot: Slot): string[] {
  return [
    "link set lo up",
    `tuntap add dev ${TAP} mode tap user ${slot.owner}`,
    `link set ${TAP} address ${TAP_MAC} addrgenmode none`,
    `addr add ${INNER_GATEWAY}/${INNER_PREFIX} dev ${TAP}`,
    `addr add ${METADATA_ADDRESS}/32 dev ${TAP}`,
    `link set ${TAP} up`,
    ...uplinkInterior(layout, slot),
  ];
}

/** The veth pair between the bridge and a slot's namespace. */
const uplink = (slot: Slot): string[] => [
  `link add ${slot.port} type veth peer name ${UPLINK} address ${slot.mac} netns ${slot.namespace}`,
  `link set ${slot.port} addrgenmode none`,
];

const uplinkInterior = (layout: Layout, slot: Slot): string[] => [
  `link set ${UPLINK} addrgenmode none`,
  `addr add ${slot.address}/${layout.subnet.prefix} dev ${UPLINK}`,
  `link set ${UPLINK} up`,
  `route add default via ${layout.gateway}`,
];
