import { randomBytes } from "node:crypto";
import type { EngineName } from "../core/types.ts";
import type { MetadataDocument } from "../sandbox/port.ts";

/** What a guest needs to be one registered runner. All values are strings, since text clients read them. */
export interface GuestCredentials {
  /** The forge's id of the registration. */
  row: string;
  uuid: string;
  token: string;
  /** The forge's URL as the guest reaches it. */
  address: string;
  /** `a:host,b:host` */
  labels: string;
  /** The job attempt it is bound to, where the forge can bind. */
  handle?: string;
}

export interface GuestDescription {
  runnerId: string;
  runnerName: string;
  pool: string;
  labels: string[];
  forgeUrl: string;
  /** Absent for the original's agent, which knows one engine and its own limit. */
  engine?: EngineName;
  engineTimeoutSeconds?: number;
  /** The only jobs that the engine may run, as JSON; absent: every one that it is given. */
  trust?: string;
  /** The real registration token, only for images that register themselves; else a useless one is made up. */
  registrationToken?: string;
  /** The pool's own metadata; what Fireteact writes takes precedence. */
  poolMetadata?: MetadataDocument;
  /** The pool's own user data, for cloud-init. */
  userData?: string;
}

/** The trees that a guest sees: the same one under the name of MMDS and of EC2's first version. */
const TOP_KEYS = ["latest", "2009-04-04"];

/** The tree of a guest that has no credentials yet. */
export function guestDocument(guest: GuestDescription): MetadataDocument {
  const { "user-data": poolUserData, ...poolMetadata } = guest.poolMetadata ?? {};
  const userData = guest.userData ?? poolUserData;
  const tree: MetadataDocument = {
    "meta-data": {
      ...poolMetadata,
      "instance-id": guest.runnerId,
      "local-hostname": guest.runnerName,
      fireteact: {
        gitea_instance_url: guest.forgeUrl,
        registration_token: guest.registrationToken ?? randomBytes(20).toString("hex"),
        runner_name: guest.runnerName,
        runner_labels: guest.labels.join(","),
        pool_name: guest.pool,
        runner_id: guest.runnerId,
        ...(guest.engine === undefined ? {} : { engine: guest.engine }),
        ...(guest.trust === undefined ? {} : { trust: guest.trust }),
        ...(guest.engineTimeoutSeconds === undefined
          ? {}
          : { engine_timeout_seconds: String(Math.floor(guest.engineTimeoutSeconds)) }),
      },
    },
    ...(userData === undefined ? {} : { "user-data": userData }),
  };
  return Object.fromEntries(TOP_KEYS.map((key) => [key, structuredClone(tree)]));
}

/** The same tree with credentials in it; the one given is not changed. */
export function withCredentials(document: MetadataDocument, credentials: GuestCredentials): MetadataDocument {
  return changed(document, (fireteact) => ({ ...fireteact, credentials: { ...credentials, ephemeral: "true" } }));
}

/** The same tree without credentials, whether it had any or not. */
export function withoutCredentials(document: MetadataDocument): MetadataDocument {
  return changed(document, (fireteact) => {
    const { credentials: _gone, ...rest } = fireteact;
    return rest;
  });
}

function changed(
  document: MetadataDocument,
  change: (fireteact: MetadataDocument) => MetadataDocument,
): MetadataDocument {
  const copy = structuredClone(document);
  for (const key of TOP_KEYS) {
    const metaData = memberOf(memberOf(copy, key), "meta-data");
    metaData["fireteact"] = change(memberOf(metaData, "fireteact"));
  }
  return copy;
}

/** A tree without these members was not made by `guestDocument`. */
function memberOf(tree: MetadataDocument, key: string): MetadataDocument {
  const member = tree[key];
  if (typeof member !== "object" || member === null) throw new TypeError(`the metadata tree has no "${key}"`);
  return member as MetadataDocument;
}
