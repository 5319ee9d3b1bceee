import { NAMESPACE_PREFIX, namespaceName, outerInterface } from "../../base/names.ts";
import type { GuestNetwork } from "../port.ts";
import { gatewayAddress, type Subnet, slotAddress } from "./subnet.ts";

/**
 * Every namespace looks the same from inside, so that clones of one snapshot find the network they knew: same tap, same
 * addresses, and the same MAC on both ends (a restored guest still has its gateway in its neighbour table).
 */
export const TAP = "tap0";
export const UPLINK = "uplink";
export const GUEST_ADDRESS = "172.31.0.2";
export const INNER_GATEWAY = "172.31.0.1";
export const INNER_PREFIX = 30;
export const METADATA_ADDRESS = "169.254.169.254";
export const GUEST_MAC = "02:f7:ac:1f:00:02";
export const TAP_MAC = "02:f7:ac:1f:00:01";
/** Fixed, since a bridge otherwise takes the lowest MAC of its ports and changes it when they come and go. */
export const BRIDGE_MAC = "02:f7:ff:00:00:01";

export const NAMESPACES = "/run/netns";

/** Names and numbers of one slot: everything that is made for a guest follows from its number. */
export interface Slot {
  number: number;
  namespace: string;
  /** The host's end of the veth pair: an isolated port of the bridge. */
  port: string;
  /** Address and MAC of the namespace's end: who the guest is for the host. */
  address: string;
  mac: string;
  /** The user that may open the tap. */
  owner: number;
}

export interface Layout {
  hostId: string;
  subnet: Subnet;
  gateway: string;
  /** Where the metadata listener is reached, on the gateway. */
  metadataPort: number;
  firstOwner: number;
}

export function slotOf(layout: Layout, number: number): Slot {
  return {
    number,
    namespace: namespaceName(layout.hostId, number),
    port: outerInterface(number),
    address: slotAddress(layout.subnet, number),
    mac: `02:f7:00:00:${byte(number >> 8)}:${byte(number)}`,
    owner: layout.firstOwner + number,
  };
}

export function createLayout(options: Omit<Layout, "gateway">): Layout {
  return { ...options, gateway: gatewayAddress(options.subnet) };
}

/** The slot number in the name of one of this host's namespaces. */
export function slotOfNamespace(layout: Layout, name: string): number | undefined {
  const prefix = `${NAMESPACE_PREFIX}${layout.hostId}-`;
  return name.startsWith(prefix) ? slotNumber(name.slice(prefix.length)) : undefined;
}

/** The slot number in the name of a port of the bridge. */
export function slotOfPort(name: string): number | undefined {
  const prefix = outerInterface(0).slice(0, -1);
  return name.startsWith(prefix) ? slotNumber(name.slice(prefix.length)) : undefined;
}

export function guestNetwork(slot: Slot, nameservers: string[]): GuestNetwork {
  return {
    namespace: `${NAMESPACES}/${slot.namespace}`,
    tap: TAP,
    guestMac: GUEST_MAC,
    guestAddress: `${GUEST_ADDRESS}/${INNER_PREFIX}`,
    gateway: INNER_GATEWAY,
    nameservers: [...nameservers],
    hostAddress: slot.address,
    owner: slot.owner,
  };
}

const slotNumber = (text: string): number | undefined => (/^\d{1,4}$/.test(text) ? Number(text) : undefined);
const byte = (number: number): string => (number & 0xff).toString(16).padStart(2, "0");
