import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Places } from "../base/names.ts";
import type { Settings } from "../core/settings.ts";
import type { DriverName } from "../core/types.ts";
import { createCniNetwork } from "../network/cni/network.ts";
import { createEmbeddedNetwork } from "../network/embedded/network.ts";
import type { Egress, Network } from "../network/port.ts";

/** The networks that drivers put guests into; each is made when the first driver asks for it. */
export interface Networks {
  /** That of a driver's guests: Firecracker's go where the configuration says, all others into the embedded one. */
  of(driver: DriverName): Network;
  allow(egress: Egress): Promise<void>;
  /** Guests keep theirs; with `remove` what they share goes too, once none is left. */
  close(options: { remove: boolean }): Promise<void>;
}

export function createNetworks(deps: {
  settings: () => Settings;
  places: Places;
  hostId: string;
  clock: Clock;
  log: Logger;
}): Networks {
  const made = new Map<"cni" | "embedded", Network>();

  const make = (kind: "cni" | "embedded"): Network => {
    const { network, cni } = deps.settings();
    const { subnet, dns: nameservers } = network;
    if (kind === "cni" && cni !== undefined) return createCniNetwork({ ...deps, ...cni, nameservers });
    return createEmbeddedNetwork({ ...deps, subnet, nameservers });
  };

  return {
    of(driver) {
      const kind = driver === "firecracker" && deps.settings().cni !== undefined ? "cni" : "embedded";
      const network = made.get(kind) ?? make(kind);
      made.set(kind, network);
      return network;
    },
    async allow(egress) {
      for (const network of made.values()) await network.allow(egress);
    },
    async close(options) {
      for (const network of made.values()) await network.close(options);
    },
  };
}
