import * as z from "zod";

interface Network {
  first: number;
  last: number;
}

/** An IPv4 network for guests that does not run into addresses they use otherwise. */
export const subnet = () =>
  z
    .string()
    .regex(/^\d{1,3}(?:\.\d{1,3}){3}\/\d{1,2}$/, SHAPE)
    .refine((value) => isUsable(networkOf(value)), SHAPE)
    .refine((value) => TAKEN.every((taken) => isApart(networkOf(value), taken)), CLASH);

const SHAPE = "must be the address of an IPv4 network from /16 to /28, such as 10.201.0.0/24";
const CLASH = "must be apart from 127.0.0.0/8, 169.254.0.0/16 (metadata) and 172.31.0.0/30 (inside of every guest)";
const TAKEN = ["127.0.0.0/8", "169.254.0.0/16", "172.31.0.0/30"].map(networkOf);

/** Whether a network lies in none of others; undefined when the text is none. */
export function apartFrom(text: string, others: string[]): boolean | undefined {
  const network = networkOf(text);
  if (network === undefined) return undefined;
  return others.map(networkOf).every((other) => !isWithin(network, other));
}

const isWithin = (inner: Network, outer: Network | undefined): boolean =>
  outer !== undefined && inner.first >= outer.first && inner.last <= outer.last;

function isUsable(network: Network | undefined): boolean {
  const size = network === undefined ? 0 : network.last - network.first + 1;
  return size >= 2 ** (32 - 28) && size <= 2 ** (32 - 16);
}

function isApart(one: Network | undefined, other: Network | undefined): boolean {
  return one === undefined || other === undefined || one.last < other.first || other.last < one.first;
}

/** Undefined when the text is no network, or when it is an address inside of one. */
function networkOf(text: string): Network | undefined {
  const [address = "", length = ""] = text.split("/");
  const bytes = address.split(".").map(Number);
  if (bytes.length !== 4 || bytes.some((byte) => !(byte <= 255)) || Number(length) > 32) return undefined;
  const first = bytes.reduce((value, byte) => value * 256 + byte, 0);
  const size = 2 ** (32 - Number(length));
  return first % size === 0 ? { first, last: first + size - 1 } : undefined;
}
