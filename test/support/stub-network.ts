import { exec } from "../../src/base/exec.ts";
import type { GuestNetwork, Network } from "../../src/network/port.ts";

/** Namespaces with a tap that leads nowhere: enough for a monitor to start with. All are removed by `close`. */
export interface StubNetwork extends Network {
  /** Says that a guest's network is gone. */
  lose(hex: string, detail: string): void;
}

/** Users of the first guest and those after it; of this process alone, since tests end what runs as one of them. */
export const FIRST_UID = 1_000_000_000 + process.pid * 16;

export function stubNetwork(): StubNetwork {
  let lost: (hex: string, detail: string) => void = () => undefined;
  const guests = new Map<string, GuestNetwork>();
  const nameOf = (hex: string) => `fttest-${hex}`;
  let slot = 0;

  const release = async (hex: string) => {
    if (!guests.has(hex)) return;
    await exec("ip", ["netns", "delete", nameOf(hex)]);
    guests.delete(hex);
  };
  return {
    check: async () => ({ ok: true, detail: "stub" }),
    allow: async () => undefined,
    prepare: async () => undefined,
    attach: async (hex) => {
      const owner = FIRST_UID + slot++;
      const name = nameOf(hex);
      await exec("ip", ["netns", "add", name]);
      await exec("ip", ["-n", name, "tuntap", "add", "tap0", "mode", "tap", "user", String(owner)]);
      await exec("ip", ["-n", name, "link", "set", "tap0", "up"]);
      const guest: GuestNetwork = {
        namespace: `/run/netns/${name}`,
        tap: "tap0",
        guestMac: "06:00:ac:1f:00:02",
        guestAddress: "172.31.0.2/30",
        gateway: "172.31.0.1",
        nameservers: ["172.31.0.1"],
        hostAddress: `10.200.0.${slot + 1}`,
        owner,
      };
      guests.set(hex, guest);
      return guest;
    },
    find: async (hex) => guests.get(hex),
    release,
    list: async () => [...guests.keys()],
    onLost: (listener) => void (lost = listener),
    lose: (hex, detail) => lost(hex, detail),
    serveMetadata: async () => async () => undefined,
    close: async () => {
      for (const hex of guests.keys()) await release(hex);
    },
  };
}
