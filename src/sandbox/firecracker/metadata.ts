import { FireteactError } from "../../base/errors.ts";
import type { MetadataPublisher } from "../../metadata/port.ts";
import type { MetadataDocument } from "../port.ts";
import { createApi } from "./api.ts";
import { requests } from "./requests.ts";

/** The tree's size that Firecracker takes, in bytes of JSON. */
const LARGEST_DOCUMENT = 51_200;
const TIMEOUT = 10_000;

/** Hands guests their metadata through their monitors, whose own service (MMDS) answers them. */
export interface MmdsPublisher {
  publish(hex: string, document: MetadataDocument): Promise<void>;
}

export function createMmdsPublisher(socketOf: (hex: string) => string): MmdsPublisher {
  return {
    publish: async (hex, document) => {
      const size = Buffer.byteLength(JSON.stringify(document));
      if (size > LARGEST_DOCUMENT) {
        throw new FireteactError("METADATA_TOO_LARGE", `a guest's metadata would have ${size} bytes`, {
          hint: `at most ${LARGEST_DOCUMENT} bytes are possible: make the pool's metadata or user-data smaller`,
          facts: { size },
        });
      }
      await createApi(socketOf(hex)).send(requests.mmds(document), AbortSignal.timeout(TIMEOUT));
    },
  };
}

/** Where a guest's metadata comes from, by what its sandbox was made with. */
export function eitherMetadata(
  isMmds: (hex: string) => boolean,
  mmds: MmdsPublisher,
  host: MetadataPublisher,
): Pick<MetadataPublisher, "publish" | "stop" | "close"> {
  return {
    publish: async (hex, document) => {
      if (isMmds(hex)) return await mmds.publish(hex, document);
      await host.serve(hex);
      await host.publish(hex, document);
    },
    stop: (hex) => host.stop(hex),
    close: () => host.close(),
  };
}
