import { NFT_TABLE } from "../../base/names.ts";
import type { EgressPolicy, Rates } from "../../core/settings.ts";
import { formatCidr, isInside, parseCidr, type Subnet } from "./subnet.ts";

/** A policy with the addresses of its names, and of the guests under it. */
export interface PolicyRules {
  reach: EgressPolicy["reach"];
  allow: Destinations[];
  rates: Rates;
  guests: string[];
}

/** Networks that are reached at the same ports; without ports at all of them, with any protocol. */
export interface Destinations {
  networks: string[];
  ports?: [number, number];
}

/** Beyond what a second brings, which nft always allows in one go: more than the largest packet there is. */
const BURST_BYTES = 128 * 1024;

/** The set that holds a policy's guests. */
export const guestSet = (index: number): string => `guests_${index}`;

/** Sets and chains of all policies, which `policyCalls` uses. */
export function policyRules(policies: PolicyRules[]): string {
  return policies.map((policy, index) => [sets(policy, index), chains(policy, index)].join("\n")).join("\n");
}

/** Where the host's chains ask the policies: each of these is a line for every policy that has something to say there. */
export function policyCalls(policies: PolicyRules[]): Record<"up" | "down" | "here" | "onward", string> {
  const lines = (test: (policy: PolicyRules) => boolean, line: (index: number) => string): string =>
    policies.flatMap((policy, index) => (test(policy) ? [`    ${line(index)}`] : [])).join("\n");
  return {
    up: lines(limitsUpload, (index) => `ip saddr @${guestSet(index)} jump up_${index}`),
    down: lines(limitsDownload, (index) => `ip daddr @${guestSet(index)} jump down_${index}`),
    here: lines(
      (policy) => ownPorts(policy).length > 0,
      (index) => `ip saddr @${guestSet(index)} jump here_${index}`,
    ),
    onward: lines(
      () => true,
      (index) => `ip saddr @${guestSet(index)} goto onward_${index}`,
    ),
  };
}

/** One transaction that moves guests between policies. */
export function moveGuests(moves: { address: string; from?: number | undefined; to?: number | undefined }[]): string {
  const line = (verb: string, index: number | undefined, address: string): string[] =>
    index === undefined ? [] : [`${verb} element inet ${NFT_TABLE} ${guestSet(index)} { ${address} }`];
  return moves
    .flatMap(({ address, from, to }) => [...line("delete", from, address), ...line("add", to, address)])
    .join("\n");
}

/** What a listing of our tables says about who is under which policy, and the listing without it. */
export function splitGuests(listing: string): { rest: string; guests: Map<string, number> } {
  const guests = new Map<string, number>();
  const rest = listing.replace(/set guests_(\d+) \{[^{}]*(?:\{([^}]*)\}[^{}]*)?\}/g, (_, index: string, list = "") => {
    for (const [address] of String(list).matchAll(/[\d.]+/g)) guests.set(address, Number(index));
    return `set guests_${index}`;
  });
  return { rest, guests };
}

function sets({ guests, rates }: PolicyRules, index: number): string {
  const meters = [
    ...(rates.uploadMbit === undefined ? [] : ["upload"]),
    ...(rates.downloadMbit === undefined ? [] : ["download"]),
    ...(rates.packetsPerSecond === undefined ? [] : ["packets"]),
    ...(rates.connectionsPerSecond === undefined ? [] : ["new"]),
  ];
  const elements = guests.length === 0 ? "" : `\n    elements = { ${guests.join(", ")} }`;
  return [
    `  set ${guestSet(index)} {\n    type ipv4_addr${elements}\n  }`,
    ...meters.map(
      (meter) => `  set rate_${meter}_${index} {
    type ipv4_addr
    flags dynamic
    timeout 1m
    size 65535
  }`,
    ),
  ].join("\n");
}

function chains(policy: PolicyRules, index: number): string {
  const { rates } = policy;
  const over = (meter: string, side: "saddr" | "daddr", limit: string): string =>
    `update @rate_${meter}_${index} { ip ${side} limit rate over ${limit} } drop`;
  const optional = (value: number | undefined, line: (value: number) => string): string[] =>
    value === undefined ? [] : [line(value)];
  const up = [
    ...optional(rates.uploadMbit, (mbit) => over("upload", "saddr", bytes(mbit))),
    ...optional(rates.packetsPerSecond, (count) => over("packets", "saddr", each(count))),
  ];
  const down = optional(rates.downloadMbit, (mbit) => over("download", "daddr", bytes(mbit)));
  const onward = [
    // Of UDP every packet counts as new until one comes back.
    ...optional(rates.connectionsPerSecond, (count) => `meta l4proto tcp ${over("new", "saddr", each(count))}`),
    ...policy.allow.map(accept),
    ...LAST[policy.reach],
  ];
  return [chain(`up_${index}`, up), chain(`down_${index}`, down), chain(`here_${index}`, ownPorts(policy).map(accept))]
    .concat(chain(`onward_${index}`, onward))
    .join("");
}

/** How a policy's chain ends. Refusals are told, so that a job fails at once and not after minutes. */
const LAST: Record<EgressPolicy["reach"], string[]> = {
  open: ["accept"],
  "internet-only": ["ip daddr @private reject with icmp type admin-prohibited", "accept"],
  "allow-list": ["reject with icmp type admin-prohibited"],
};

const chain = (name: string, lines: string[]): string =>
  lines.length === 0 ? "" : `  chain ${name} {\n${lines.map((line) => `    ${line}\n`).join("")}  }\n`;

function accept({ networks, ports }: Destinations): string {
  const to = `ip daddr { ${outermost(networks).join(", ")} }`;
  if (ports === undefined) return `${to} accept`;
  return `meta l4proto { tcp, udp } ${to} th dport ${ports[0]}-${ports[1]} accept`;
}

/** Ports of this host: never by a network that it happens to be in. */
const ownPorts = ({ allow }: PolicyRules): Destinations[] =>
  allow
    .filter(({ ports }) => ports !== undefined)
    .map((entry) => ({ ...entry, networks: entry.networks.filter((network) => !network.includes("/")) }))
    .filter(({ networks }) => networks.length > 0);

/** Without those that lie in others: nft refuses them in one set. */
function outermost(networks: string[]): string[] {
  const parsed = [...new Set(networks)].map(parseCidr).filter((network) => network !== undefined);
  const kept: Subnet[] = [];
  for (const network of parsed.sort((a, b) => a.prefix - b.prefix || a.base - b.base)) {
    if (!kept.some((outer) => isInside(network, outer))) kept.push(network);
  }
  return kept.map(formatCidr);
}

const limitsUpload = ({ rates }: PolicyRules): boolean =>
  rates.uploadMbit !== undefined || rates.packetsPerSecond !== undefined;
const limitsDownload = ({ rates }: PolicyRules): boolean => rates.downloadMbit !== undefined;

const bytes = (mbit: number): string => `${Math.round(mbit * 125_000)} bytes/second burst ${BURST_BYTES} bytes`;

const each = (count: number): string => `${count}/second`;
