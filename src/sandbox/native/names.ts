/** Everything of native pools that has a name on the host, in one place: the unit's file and the driver must agree. */

/** Holds what orchestrator and units hand each other; only the orchestrator's group may enter it. */
export const NATIVE_RUN = "/run/fireteact-native";
/**
 * One file per job, read by the service manager as root. Sticky and open to all, so that the kernel lets root follow no
 * link that somebody else put there (fs.protected_symlinks); its parent keeps everybody else out.
 */
export const CREDENTIALS = `${NATIVE_RUN}/credentials`;
export const CHANNELS = `${NATIVE_RUN}/channels`;
/** How units ended and what they used, written as root. */
export const EXITS = `${NATIVE_RUN}/exits`;
/** Empty; the root that a job's file view is built on. */
export const EMPTY_ROOT = `${NATIVE_RUN}/root`;
export const unitName = (pool: string, hex: string): string => `fireteact-native-${pool}@${hex}.service`;
export const templateName = (pool: string): string => unitName(pool, "");

/** A dash in a slice's name means a level below, so the pool's own are escaped as systemd-escape does it. */
export const sliceName = (pool: string): string => `fireteact-native-${pool.replaceAll("-", "\\x2d")}.slice`;

/** Every unit of every native pool. */
export const ALL_UNITS = "fireteact-native-*@*.service";

const UNIT = /^fireteact-native-([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)@([0-9a-f]{24})\.service$/;

/** Pool and hex in a unit's name; undefined for any other unit. */
export function partsOf(unit: string): { pool: string; hex: string } | undefined {
  const [, pool, hex] = UNIT.exec(unit) ?? [];
  return pool === undefined || hex === undefined ? undefined : { pool, hex };
}

/** The file with what the host adds to a job's environment: proxies. */
export const environmentFile = (pool: string): string => `/etc/fireteact-native/${pool}.environment`;
