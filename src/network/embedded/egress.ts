import { isIPv4 } from "node:net";
import { DEFAULT_EGRESS, type EgressPolicy } from "../../core/settings.ts";
import type { Egress } from "../port.ts";
import { createNames, type Names, type Resolve, resolveAt, resolveHere } from "./names.ts";
import type { Destinations, PolicyRules } from "./policy-rules.ts";
import { type Endpoint, isPublic } from "./rules.ts";

/** What the configuration lets guests reach, with the addresses of all names in it. */
export interface Wanted {
  replace(egress: Egress): void;
  /** The guests' name servers, which names in policies are asked of. */
  ask(nameservers: readonly string[]): void;
  /** The policy of a pool's guests; the one they came with where the pool is not known any more. */
  policyOf(pool: string, before?: EgressPolicy): EgressPolicy;
  /** Looks names up again: those in policies, and with `all` the forge's too. Returns what guests will not reach. */
  lookUp(uptime: number, all: boolean): Promise<string[]>;
  endpoints(): Endpoint[];
  /** The policy with the addresses known now. */
  rulesOf(policy: EgressPolicy): Omit<PolicyRules, "guests">;
  /** All policies of pools. */
  policies(): EgressPolicy[];
}

export function createWanted(resolve?: Resolve): Wanted {
  const forge: Names = createNames(resolve ?? resolveHere, (address) =>
    isLoopback(address) ? "is a loopback address of this host, which guests cannot reach" : undefined,
  );
  let asked: Resolve = resolve ?? resolveHere;
  // Whoever runs a name's zone could otherwise open doors inside this network.
  const names: Names = createNames(
    (host) => asked(host),
    (address) => (isPublic(address) ? undefined : `has the private address ${address}: allow the address itself`),
  );
  let egress: Egress = { allow: [] };
  let ofForge: ReadonlyMap<string, string[]> = new Map();
  let ofPolicies: ReadonlyMap<string, string[]> = new Map();
  let forgeProblems: string[] = [];

  const policies = (): EgressPolicy[] => Object.values(egress.pools ?? {});

  return {
    replace(wanted) {
      egress = wanted;
    },
    ask(nameservers) {
      if (resolve === undefined) asked = resolveAt(nameservers);
    },
    policyOf: (pool, before) =>
      (Object.hasOwn(egress.pools ?? {}, pool) ? egress.pools?.[pool] : before) ?? DEFAULT_EGRESS,
    async lookUp(uptime, all) {
      const inPolicies = policies().flatMap(({ allow }) => allow.map(({ host }) => host).filter(isName));
      const [first, second] = await Promise.all([
        all
          ? forge.lookUp(
              egress.allow.map(({ host }) => host),
              uptime,
            )
          : undefined,
        names.lookUp(inPolicies, uptime),
      ]);
      if (first !== undefined) {
        ofForge = first.addresses;
        forgeProblems = first.problems;
      }
      ofPolicies = second.addresses;
      return [...forgeProblems, ...second.problems];
    },
    endpoints() {
      const all = egress.allow.flatMap(({ host, port }) =>
        (ofForge.get(host) ?? []).map((address): Endpoint => ({ address, port })),
      );
      const distinct = new Map(all.map((endpoint) => [`${endpoint.address} ${endpoint.port}`, endpoint]));
      return [...distinct].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
    },
    rulesOf: ({ reach, allow, rates }) => ({
      reach,
      rates,
      allow: allow
        .map(
          ({ host, ports }): Destinations => ({
            networks: isName(host) ? (ofPolicies.get(host) ?? []) : [host],
            ...(ports === undefined ? {} : { ports }),
          }),
        )
        .filter(({ networks }) => networks.length > 0),
    }),
    policies,
  };
}

const isName = (host: string): boolean => !isIPv4(host.split("/")[0] ?? "");
const isLoopback = (address: string): boolean => address.startsWith("127.") || address === "0.0.0.0";
