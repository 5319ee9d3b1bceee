import type { Server } from "node:net";
import type { Clock } from "../base/clock.ts";
import { FireteactError } from "../base/errors.ts";
import type { Network } from "../network/port.ts";
import { compactJson } from "./lookup.ts";
import type { MetadataPublisher, MmdsVersion } from "./port.ts";
import type { GuestMetadata } from "./respond.ts";
import { createMetadataServer } from "./server.ts";
import { createTokens } from "./tokens.ts";

/** The size of a tree, in bytes of compact JSON. */
const LARGEST_DOCUMENT = 51_200;

interface Served {
  guest: GuestMetadata;
  stop: () => Promise<void>;
}

/** Serves each guest its metadata through the network it is attached to. */
export function createMetadataPublisher(options: {
  network: Pick<Network, "serveMetadata">;
  clock: Clock;
  version?: MmdsVersion;
  /** For tests. */
  createServer?: (guest: GuestMetadata, clock: Clock) => Server;
}): MetadataPublisher {
  const { network, clock, version = "V1", createServer = createMetadataServer } = options;
  const guests = new Map<string, Promise<Served>>();

  return {
    async serve(hex) {
      const running = guests.get(hex) ?? start(hex);
      guests.set(hex, running);
      await running;
    },

    async publish(hex, document) {
      const size = Buffer.byteLength(compactJson(document));
      if (size > LARGEST_DOCUMENT) {
        throw new FireteactError("METADATA_TOO_LARGE", `a guest's metadata would have ${size} bytes`, {
          hint: `at most ${LARGEST_DOCUMENT} bytes are possible: make the pool's metadata or user-data smaller`,
          facts: { size },
        });
      }
      const served = await guests.get(hex);
      if (served === undefined)
        throw new FireteactError("METADATA_NOT_SERVED", `the guest ${hex} is served no metadata`);
      served.guest.document = structuredClone(document);
    },

    async stop(hex) {
      const served = guests.get(hex);
      guests.delete(hex);
      await (await served)?.stop();
    },

    async close() {
      const all = [...guests.values()];
      guests.clear();
      await Promise.all(all.map(async (served) => (await served).stop()));
    },
  };

  async function start(hex: string): Promise<Served> {
    const guest = { version, document: {}, tokens: createTokens(clock) };
    try {
      return { guest, stop: await network.serveMetadata(hex, createServer(guest, clock)) };
    } catch (error) {
      guests.delete(hex);
      throw error;
    }
  }
}
