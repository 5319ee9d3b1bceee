import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { describe } from "../../base/errors.ts";
import type { Egress } from "../port.ts";
import type { Endpoint } from "./rules.ts";

export type Resolve = (host: string) => Promise<string[]>;

export interface Resolution {
  endpoints: Endpoint[];
  /** One line for each host that guests will not reach, and why. */
  problems: string[];
}

/** An address that is not seen any more stays open this long: forges behind rotating names keep several. */
const KEPT = 10 * 60_000;

/** Turns what guests may always reach into addresses, and remembers those seen before while names rotate. */
export function createOpenings(resolve: Resolve = resolveHost): {
  resolve(egress: Egress, uptime: number): Promise<Resolution>;
} {
  /** By what was wanted: until which uptime each of its addresses is open. */
  let open = new Map<string, Map<string, number>>();
  return {
    async resolve(egress, uptime) {
      const problems: string[] = [];
      const endpoints = new Map<string, Endpoint>();
      const next: typeof open = new Map();
      for (const { host, port } of egress.allow) {
        const addresses = open.get(`${host}:${port}`) ?? new Map<string, number>();
        next.set(`${host}:${port}`, addresses);
        for (const address of await lookedUp(host, [...addresses.keys()], problems)) {
          addresses.set(address, uptime + KEPT);
        }
        for (const [address, until] of addresses) {
          if (until < uptime) addresses.delete(address);
          else endpoints.set(`${address} ${port}`, { address, port });
        }
      }
      open = next;
      return { endpoints: [...endpoints].sort(byText).map(([, endpoint]) => endpoint), problems };
    },
  };

  /** The host's addresses that guests can reach now; those known before when it cannot be looked up. */
  async function lookedUp(host: string, known: string[], problems: string[]): Promise<string[]> {
    try {
      const addresses = await resolve(host);
      if (addresses.some(isLoopback)) {
        problems.push(`"${host}" is a loopback address of this host, which guests cannot reach`);
      }
      return addresses.filter((address) => !isLoopback(address));
    } catch (error) {
      problems.push(`"${host}" has no address now (${describe(error)})`);
      return known;
    }
  }
}

async function resolveHost(host: string): Promise<string[]> {
  if (isIPv4(host)) return [host];
  const addresses = await lookup(host, { all: true, family: 4 });
  return addresses.map(({ address }) => address);
}

const isLoopback = (address: string): boolean => address.startsWith("127.") || address === "0.0.0.0";

const byText = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1);
