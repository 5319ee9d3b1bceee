/**
 * Every name that Fireteact gives to something outside itself is made here.
 *
 * The heart of them all is the *hex*: 24 hexadecimal digits as in the original program, of which the first six are this
 * host's id, so that several hosts on one forge never touch each other's runners, and the rest is random.
 */

export const HOST_ID_DIGITS = 6;
const HEX_DIGITS = 24;

/**
 * A new hex for this host. Never all decimal digits: the original kept ids apart from numbers.
 * @param randomHex gives as many random hexadecimal digits as it is asked for
 */
export function newHex(hostId: string, randomHex: (digits: number) => string): string {
  for (;;) {
    const hex = hostId + randomHex(HEX_DIGITS - HOST_ID_DIGITS);
    if (!/^\d+$/.test(hex)) return hex;
  }
}

/** `<pool>-<hex>`: the id in the API, in metadata and in logs. */
export const runnerId = (pool: string, hex: string): string => `${pool}-${hex}`;

/** `<prefix>-<hex>`: the runner's name in the forge. */
export const runnerName = (prefix: string, hex: string): string => `${prefix}-${hex}`;

/** The hex at the end of a runner's id or name, whoever made it; undefined where there is none. */
export function hexOf(name: string): string | undefined {
  return /-([0-9a-f]{24})$/.exec(name)?.[1];
}

/** Whether a runner's id or name was made on this host. */
export function isOurs(name: string, hostId: string): boolean {
  return hexOf(name)?.startsWith(hostId) ?? false;
}

/** Interface and namespace names are at most 15 characters, whatever the pool is called: slots are numbered. */
export const BRIDGE = "fireteact0";
export const NAMESPACE_PREFIX = "ft-";
export const namespaceName = (hostId: string, slot: number): string => `${NAMESPACE_PREFIX}${hostId}-${slot}`;
/** The namespace of a guest whose network others make. */
export const guestNamespace = (hex: string): string => `${NAMESPACE_PREFIX}${hex}`;
/** The CNI network that the original asked for. */
export const CNI_NETWORK = "fireteact";
export const outerInterface = (slot: number): string => `ftv${slot}`;
export const NFT_TABLE = "fireteact";

/** Where things live. `state` survives a boot, `run` does not. */
export interface Places {
  state: string;
  run: string;
}
export const DEFAULT_PLACES: Places = { state: "/var/lib/fireteact", run: "/run/fireteact" };

/** A sandbox's directory: record, sockets, exit; enough to adopt or destroy it with the store empty. */
export const sandboxDirectory = (places: Places, hex: string): string => `${places.run}/sandboxes/${hex}`;

/** Where a guest's writable disk lies: it survives a boot of the host, so that it can be found and removed then. */
export const diskDirectory = (places: Places, hex: string): string => `${places.state}/disks/${hex}`;
