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
  const seen = new Map<string, { endpoint: Endpoint; until: number }>();
  return {
    async resolve(egress, uptime) {
      const problems: string[] = [];
      const hosts = new Set(egress.allow.map(({ host }) => host));
      const found = await Promise.all(
        egress.allow.map(async ({ host, port }) => {
          const addresses = await resolve(host).catch((error: unknown) => {
            problems.push(`"${host}" has no address now (${describe(error)})`);
            return [];
          });
          return { host, port, addresses };
        }),
      );
      for (const { host, port, addresses } of found) {
        if (addresses.some(isLoopback)) {
          problems.push(`"${host}" is a loopback address of this host, which guests cannot reach`);
        }
        for (const address of addresses.filter((address) => !isLoopback(address))) {
          seen.set(`${host} ${address} ${port}`, { endpoint: { address, port }, until: uptime + KEPT });
        }
      }
      for (const [key, { until }] of seen) {
        const wanted = egress.allow.some(({ host, port }) => key.startsWith(`${host} `) && key.endsWith(` ${port}`));
        if (!wanted || until < uptime) seen.delete(key);
      }
      const unresolved = new Set(found.filter(({ addresses }) => addresses.length === 0).map(({ host }) => host));
      for (const host of hosts) {
        if (unresolved.has(host)) keep(host);
      }
      return { endpoints: unique([...seen.values()].map(({ endpoint }) => endpoint)), problems };

      function keep(host: string): void {
        for (const [key, entry] of seen) if (key.startsWith(`${host} `)) entry.until = uptime + KEPT;
      }
    },
  };
}

async function resolveHost(host: string): Promise<string[]> {
  if (isIPv4(host)) return [host];
  const addresses = await lookup(host, { all: true, family: 4 });
  return addresses.map(({ address }) => address);
}

const isLoopback = (address: string): boolean => address.startsWith("127.") || address === "0.0.0.0";

function unique(endpoints: Endpoint[]): Endpoint[] {
  const byText = new Map(endpoints.map((endpoint) => [`${endpoint.address} . ${endpoint.port}`, endpoint]));
  return [...byText.keys()].sort().map((key) => byText.get(key) as Endpoint);
}
