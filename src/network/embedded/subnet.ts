import { isIPv4 } from "node:net";
import { FireteactError } from "../../base/errors.ts";

/** An IPv4 network as numbers. */
export interface Subnet {
  /** The network's address as an unsigned 32-bit number. */
  base: number;
  prefix: number;
}

/** A Linux bridge has at most 1024 ports. */
const MOST_SLOTS = 1000;

/** Reads `10.201.0.0/24`; undefined where the text is no IPv4 network. Bits of the host part are cleared. */
export function parseCidr(text: string): Subnet | undefined {
  const [address = "", prefixText = "32", ...rest] = text.split("/");
  if (rest.length > 0 || !isIPv4(address) || !/^\d{1,2}$/.test(prefixText)) return undefined;
  const prefix = Number(prefixText);
  if (prefix > 32) return undefined;
  const number = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return { base: number - (number % 2 ** (32 - prefix)), prefix };
}

/** The guests' subnet out of the configuration. Throws `NETWORK_SUBNET_INVALID`. */
export function parseGuestSubnet(text: string): Subnet {
  const subnet = parseCidr(text);
  if (subnet === undefined || subnet.prefix < 16 || subnet.prefix > 29) {
    throw new FireteactError("NETWORK_SUBNET_INVALID", `"${text}" cannot be the guests' subnet`, {
      hint: "give an IPv4 network between /16 and /29 that nothing else uses, such as 10.201.0.0/24",
    });
  }
  return subnet;
}

export const formatCidr = (subnet: Subnet): string => `${formatAddress(subnet.base)}/${subnet.prefix}`;

export const overlaps = (a: Subnet, b: Subnet): boolean =>
  a.base < b.base + 2 ** (32 - b.prefix) && b.base < a.base + 2 ** (32 - a.prefix);

/** Whether all of `inner` is in `outer`. */
export const isInside = (inner: Subnet, outer: Subnet): boolean =>
  inner.prefix >= outer.prefix && overlaps(inner, outer);

/** The bridge's own address: the first of the subnet. */
export const gatewayAddress = (subnet: Subnet): string => formatAddress(subnet.base + 1);

/** How many guests the subnet has addresses for. */
export const slotCount = (subnet: Subnet): number => Math.min(2 ** (32 - subnet.prefix) - 3, MOST_SLOTS);

/** The same for the text of the configuration. */
export const guestAddresses = (text: string): number => slotCount(parseGuestSubnet(text));

/** The address of a slot's guest as the host sees it. */
export const slotAddress = (subnet: Subnet, slot: number): string => formatAddress(subnet.base + 2 + slot);

/** The slot whose guest has an address; undefined where it is no guest's. */
export function slotOfAddress(subnet: Subnet, address: string): number | undefined {
  const parsed = parseCidr(address);
  if (parsed === undefined) return undefined;
  const slot = parsed.base - subnet.base - 2;
  return slot >= 0 && slot < slotCount(subnet) ? slot : undefined;
}

function formatAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
}
