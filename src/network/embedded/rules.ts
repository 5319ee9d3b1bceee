import { BRIDGE, NFT_TABLE, outerInterface } from "../../base/names.ts";
import {
  GUEST_ADDRESS,
  GUEST_MAC,
  INNER_GATEWAY,
  type Layout,
  METADATA_ADDRESS,
  type Slot,
  slotOf,
  TAP,
  UPLINK,
} from "./layout.ts";
import { type PolicyRules, policyCalls, policyRules } from "./policy-rules.ts";
import { formatCidr, isInside, parseCidr, slotCount } from "./subnet.ts";

export interface Endpoint {
  address: string;
  port: number;
}

/** What guests reach. */
export interface Openings {
  /** The forge, wherever it is: for all guests. */
  endpoints: Endpoint[];
  /** Name servers, port 53: for all guests. */
  nameservers: string[];
  /** What else. A guest that is under none of them reaches nothing else. */
  policies: PolicyRules[];
}

/** Everything that is not the public internet. */
const PRIVATE = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "224.0.0.0/3",
];

/** Where clouds tell a machine its own credentials: reached under no policy. IPv6 is dropped as a whole. */
const METADATA = ["169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192"];

/** Whether the address belongs to the public internet, and is not a cloud's metadata. */
export function isPublic(address: string): boolean {
  const parsed = parseCidr(address);
  if (parsed === undefined) return false;
  return [...PRIVATE, ...METADATA].every((text) => {
    const range = parseCidr(text);
    return range === undefined || !isInside(parsed, range);
  });
}

/** How often one guest may connect to the metadata listener, which is the daemon's own. */
const NEW_CONNECTIONS = "50/second burst 100 packets";

/** How many flows are tracked for one guest: the host has memory for so many of all. */
const MOST_FLOWS = 8192;

/** All our ports of the bridge. */
const PORTS = `${outerInterface(0).slice(0, -1)}*`;

/**
 * The host's rules, as one replacement of our own tables; nobody else's are touched.
 *
 * The bridge table ties each port to the one MAC and address of its slot, so an address seen by the rest is proof of who
 * sent it. It names all slots there can be, so that it need not change when guests come and go.
 *
 * Openings are looked up by the address the guest asked for, before another table's DNAT: a forge whose port a container
 * engine publishes is then found too.
 */
export function hostRules(layout: Layout, openings: Openings): string {
  const slots = Array.from({ length: slotCount(layout.subnet) }, (_, number) => slotOf(layout, number));
  const subnet = formatCidr(layout.subnet);
  const endpoints = openings.endpoints.map(({ address, port }) => `${address} . ${port}`);
  const dns = openings.nameservers;
  const calls = policyCalls(openings.policies);
  return `
${replaced("bridge")}
table bridge ${NFT_TABLE} {
  set slots {
    type ifname . ether_addr . ipv4_addr
${elements(slots.map((slot) => `"${slot.port}" . ${slot.mac} . ${slot.address}`))}
  }
  chain from_port {
    type filter hook prerouting priority filter; policy accept;
    iifname != "${PORTS}" accept
    ether type ip iifname . ether saddr . ip saddr @slots accept
    ether type arp iifname . ether saddr . arp saddr ip @slots iifname . arp saddr ether . arp saddr ip @slots accept
    drop
  }
  chain between_ports {
    type filter hook forward priority filter; policy accept;
    iifname "${PORTS}" oifname "${PORTS}" drop
  }
}
${replaced("inet")}
table inet ${NFT_TABLE} {
  set open {
    type ipv4_addr . inet_service
${elements(endpoints)}
  }
  set nameservers {
    type ipv4_addr
${elements(dns)}
  }
  set private {
    type ipv4_addr
    flags interval
${elements(PRIVATE)}
  }
  set metadata {
    type ipv4_addr
    flags interval
${elements(METADATA)}
  }
${policyRules(openings.policies)}
  set asking {
    type ipv4_addr
    flags dynamic
    timeout 1m
    size 65535
  }
  chain opened {
    meta l4proto { tcp, udp } ip daddr @nameservers th dport 53 accept
    ip daddr @metadata reject with icmp type admin-prohibited
    meta l4proto tcp ct original ip daddr . ct original proto-dst @open accept
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "${BRIDGE}" jump guest_to_host
  }
  chain guest_to_host {
    meta nfproto ipv6 drop
    ip saddr != ${subnet} drop
    ct state established,related accept
    ip daddr ${layout.gateway} tcp dport ${layout.metadataPort} update @asking { ip saddr limit rate over ${NEW_CONNECTIONS} } drop
    ip daddr ${layout.gateway} tcp dport ${layout.metadataPort} accept
    jump opened
${calls.here}
    drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "${BRIDGE}" jump from_guest
    oifname "${BRIDGE}" jump to_guest
  }
  chain from_guest {
    meta nfproto ipv6 drop
    ip saddr != ${subnet} drop
    oifname "${BRIDGE}" drop
${calls.up}
    ct state established,related accept
    jump opened
${calls.onward}
    drop
  }
  chain to_guest {
${calls.down}
    ct state established,related accept
    drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${subnet} oifname != "${BRIDGE}" masquerade
  }
}
`;
}

/** Takes our tables away. */
export function noHostRules(): string {
  return `${replaced("bridge")}\n${replaced("inet")}\n`;
}

/**
 * The rules inside a slot's namespace: a guest is one MAC and one address, and speaks IPv4 and ARP with its gateway only.
 * Of the bridge's subnet it reaches the gateway, where the host's rules decide by exact address and port. A VMM that was
 * taken over reaches nothing through sockets of its own either (`output`).
 */
export function namespaceRules(layout: Layout, slot: Slot): string {
  return `
table netdev ${NFT_TABLE} {
  chain from_tap {
    type filter hook ingress device "${TAP}" priority filter; policy drop;
    ether saddr != ${GUEST_MAC} drop
    ether type ip ip saddr ${GUEST_ADDRESS} accept
    ether type arp arp saddr ether ${GUEST_MAC} arp saddr ip ${GUEST_ADDRESS} arp daddr ip { ${INNER_GATEWAY}, ${METADATA_ADDRESS} } accept
  }
}
table inet ${NFT_TABLE} {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "${TAP}" ip daddr ${INNER_GATEWAY} icmp type echo-request limit rate 50/second accept
  }
  chain output {
    type filter hook output priority filter; policy drop;
    ct state established,related accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "${UPLINK}" oifname "${TAP}" ct state established,related accept
    iifname "${TAP}" oifname "${UPLINK}" ip saddr ${GUEST_ADDRESS} jump from_guest
  }
  chain from_guest {
    ct state invalid drop
    ct state new ct count over ${MOST_FLOWS} drop
    ip daddr ${layout.gateway} accept
    ip daddr { ${formatCidr(layout.subnet)}, 169.254.0.0/16 } drop
    accept
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "${TAP}" ip daddr ${METADATA_ADDRESS} tcp dport 80 dnat ip to ${layout.gateway}:${layout.metadataPort}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${UPLINK}" snat ip to ${slot.address}
  }
}
`;
}

/** Makes the table if there is none, so that the deletion in the same transaction always succeeds. */
const replaced = (family: string): string => `table ${family} ${NFT_TABLE} {}\ndelete table ${family} ${NFT_TABLE}`;

const elements = (list: string[]): string => (list.length === 0 ? "" : `    elements = { ${list.join(", ")} }`);
