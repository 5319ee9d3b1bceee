import { lookup, Resolver } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { describe } from "../../base/errors.ts";

/** Rejects where a name has no address now. */
export type Resolve = (host: string) => Promise<string[]>;

export interface LookedUp {
  /** By name, in order. */
  addresses: ReadonlyMap<string, string[]>;
  /** One line for each name that guests will not reach, and why. */
  problems: string[];
}

/** Addresses of names, remembered while names rotate. */
export interface Names {
  lookUp(hosts: readonly string[], uptime: number): Promise<LookedUp>;
}

/** An address that is not seen any more stays open this long: servers behind rotating names keep several. */
const KEPT = 10 * 60_000;
/** So many addresses of a name stay open; of more, those seen last. */
const MOST_ADDRESSES = 256;
/** Milliseconds, and tries, for an answer of a name server. */
const PATIENCE = { timeout: 2_000, tries: 2 };

/** `refuse` says why an address is not opened, though its name was asked for. */
export function createNames(resolve: Resolve, refuse: (address: string) => string | undefined): Names {
  /** By name: until which uptime each of its addresses is open. */
  let open = new Map<string, Map<string, number>>();
  return {
    async lookUp(hosts, uptime) {
      const wanted = [...new Set(hosts)];
      const found = await Promise.all(wanted.map((host) => lookUp(host)));
      const problems: string[] = [];
      const next: typeof open = new Map();
      for (const [index, host] of wanted.entries()) {
        const known = open.get(host) ?? new Map<string, number>();
        const answer = found[index] ?? [];
        if (answer instanceof Error) problems.push(`"${host}" has no address now (${describe(answer)})`);
        const seen = answer instanceof Error ? [...known.keys()] : opened(host, answer, problems);
        for (const address of seen) {
          // Last in the map is seen last.
          known.delete(address);
          known.set(address, uptime + KEPT);
        }
        const kept = [...known].filter(([, until]) => until >= uptime).slice(-MOST_ADDRESSES);
        next.set(host, new Map(kept));
      }
      open = next;
      return { addresses: new Map([...open].map(([host, known]) => [host, [...known.keys()].sort()])), problems };
    },
  };

  async function lookUp(host: string): Promise<string[] | Error> {
    if (isIPv4(host)) return [host];
    try {
      return await resolve(host);
    } catch (error) {
      return error instanceof Error ? error : new Error(describe(error));
    }
  }

  function opened(host: string, addresses: string[], problems: string[]): string[] {
    const reasons = new Set<string>();
    const fit = addresses.filter((address) => {
      const reason = isIPv4(address) ? refuse(address) : "is no IPv4 address";
      if (reason !== undefined) reasons.add(`"${host}" ${reason}`);
      return reason === undefined;
    });
    problems.push(...reasons);
    return fit;
  }
}

/** As programs of this host find it. */
export async function resolveHere(host: string): Promise<string[]> {
  const addresses = await lookup(host, { all: true, family: 4 });
  return addresses.map(({ address }) => address);
}

/** As a guest finds it: by asking its name servers. */
export function resolveAt(nameservers: readonly string[]): Resolve {
  if (nameservers.length === 0) return resolveHere;
  const resolver = new Resolver(PATIENCE);
  resolver.setServers([...nameservers]);
  return async (host) => await resolver.resolve4(host);
}
