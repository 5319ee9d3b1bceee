import type { MetadataDocument } from "../sandbox/port.ts";

/** Which MMDS version a guest is served: `V1` answers without a token, `V2` insists on one. */
export type MmdsVersion = "V1" | "V2";

/** Serves each guest its own metadata, and nobody else's, at 169.254.169.254:80. `hex` names the guest. */
export interface MetadataPublisher {
  /** Starts answering the guest, with an empty tree until something is published. Repeatable, also after a restart. */
  serve(hex: string): Promise<void>;
  /** Replaces what the guest reads from now on. Rejects a tree above 51200 bytes and a guest that is not served. */
  publish(hex: string, document: MetadataDocument): Promise<void>;
  /** Forgets the guest's tree and tokens and closes its connections. Twice is success. */
  stop(hex: string): Promise<void>;
  /** Stops all. */
  close(): Promise<void>;
}
