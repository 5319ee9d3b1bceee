import type { Server } from "node:net";
import type { EgressPolicy } from "../core/settings.ts";

/** A network place for one guest: a namespace with a tap in it, or what a CNI configuration makes. */
export interface GuestNetwork {
  /** Path of the network namespace the VMM is started in. */
  namespace: string;
  /** The tap's name inside it. */
  tap: string;
  guestMac: string;
  /** Inner address with prefix, the same for every guest (`172.31.0.2/30`). */
  guestAddress: string;
  gateway: string;
  nameservers: string[];
  /** The guest's address as the host sees it. */
  hostAddress: string;
  /** The user id, no other guest's, that may open the tap: the VMM can run as it, with the group of the same number and without any capability. */
  owner: number;
}

export interface Egress {
  /** Always reachable, whatever the policy: the forge's addresses and ports. */
  allow: { host: string; port: number }[];
  /** What guests of each pool reach besides, by the pool's name. A pool that is not here has the default policy. */
  pools?: Readonly<Record<string, EgressPolicy>>;
}

/** Whether networks can be made here, in one line, with the fix where they cannot. */
export interface NetworkCheck {
  ok: boolean;
  detail: string;
  hint?: string;
}

/** Networks of guests. `hex` names the guest; the network is given back by `release`. */
export interface Network {
  /** Looks without changing anything, for `doctor`. */
  check(): Promise<NetworkCheck>;
  /** Replaces what guests may reach, running ones too; host names are resolved now and again. */
  allow(egress: Egress): Promise<void>;
  /** Makes what all guests share (bridge, rules, pool of namespaces). Repeatable. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Gives a guest of a pool its network, under the pool's egress policy from its first packet. */
  attach(hex: string, pool: string, signal: AbortSignal): Promise<GuestNetwork>;
  /** The network a guest has, also when another process attached it. */
  find(hex: string): Promise<GuestNetwork | undefined>;
  /** Twice is success. */
  release(hex: string): Promise<void>;
  /** Hexes of all guests that have a network here, with the store empty. */
  list(): Promise<string[]>;
  /**
   * Serves a guest's metadata at 169.254.169.254:80 inside its network; that guest only. The server need not listen: it
   * is handed the guest's connections as `connection` events. Returns what stops it.
   */
  serveMetadata(hex: string, server: Server): Promise<() => Promise<void>>;
  /**
   * Calls back, once for each, with guests whose network another program took away beyond repair, and in what way. Such
   * a guest has to go; what can be mended around it is mended, with a warning in the log.
   */
  onLost(listener: (hex: string, detail: string) => void): void;
  /** Stops serving; with `remove` takes the shared parts away too, once no guest is left. */
  close(options: { remove: boolean }): Promise<void>;
}
