import type { Clock } from "../base/clock.ts";
import { describe, FireteactError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { readPolicy, type TrustPolicy } from "../base/trust.ts";
import type { MetadataClient } from "./metadata.ts";

const LONGEST_TRUST = 1_000_000;
export const METADATA_PATH = "/latest/meta-data/fireteact";

/** One ephemeral runner's registration, made by the host. */
export interface Credentials {
  row: string;
  uuid: string;
  token: string;
  /** Base URL of the forge. */
  address: string;
  /** `name:host` each. */
  labels: string[];
  ephemeral: boolean;
  /** Names the one job it may take, where the forge can bind. */
  handle?: string;
}

/** What this sandbox is to do, read from the metadata. */
export interface Assignment {
  name: string;
  pool: string;
  /** Name of the engine; the original's hosts name none. */
  engine: string;
  /** What the engine allows a job, milliseconds. */
  engineTimeout?: number;
  credentials: Credentials | LegacyRegistration;
  /** The only jobs that may run here; absent: every one that the forge gives out. */
  trust?: TrustPolicy;
}

/** Of a host that lets its guests register themselves, as the original did. */
export interface LegacyRegistration {
  instance: string;
  registrationToken: string;
  labels: string[];
}

/** What there is in the metadata: nothing of ours, a runner that waits for its credentials, or all that is needed. */
export type Finding =
  | { kind: "missing"; detail: string }
  | { kind: "waiting"; engine: string }
  | { kind: "complete"; assignment: Assignment };

/** Reads the tree at `METADATA_PATH`. Values are strings, as everywhere in metadata. */
export function readAssignment(tree: unknown): Finding {
  if (!isRecord(tree)) return { kind: "missing", detail: "there is no runner in the metadata" };
  const name = text(tree, "runner_name");
  const instance = text(tree, "gitea_instance_url");
  const registrationToken = text(tree, "registration_token");
  if (name === "" || instance === "") return { kind: "missing", detail: "the metadata name no runner or no forge" };
  const common = { name, pool: text(tree, "pool_name") };

  const engine = text(tree, "engine");
  if (engine === "") {
    if (registrationToken === "") return { kind: "missing", detail: "the metadata hold no registration token" };
    const credentials = { instance, registrationToken, labels: list(text(tree, "runner_labels")) };
    return { kind: "complete", assignment: { ...common, engine: "gitea-runner", credentials } };
  }
  const credentials = isRecord(tree["credentials"]) ? readCredentials(tree["credentials"], instance) : undefined;
  if (credentials === undefined) return { kind: "waiting", engine };
  const seconds = Number(text(tree, "engine_timeout_seconds"));
  const timeout = Number.isFinite(seconds) && seconds > 0 ? { engineTimeout: seconds * 1_000 } : {};
  const trust = tree["trust"] === undefined ? {} : { trust: readTrust(tree["trust"]) };
  return { kind: "complete", assignment: { ...common, engine, credentials, ...timeout, ...trust } };
}

/** What cannot be read trusts nothing. */
function readTrust(value: unknown): TrustPolicy {
  try {
    return readPolicy(typeof value === "string" && value.length <= LONGEST_TRUST ? JSON.parse(value) : undefined);
  } catch (error) {
    if (error instanceof SyntaxError) return readPolicy(undefined);
    throw error;
  }
}

interface WaitOptions {
  client: MetadataClient;
  retryWait: number;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
  /** Resolves when the host says that the metadata changed. */
  changed(): Promise<void>;
}

/** Looks at the metadata until they are complete, for ever: how long a sandbox may wait is the host's decision. */
export async function waitForAssignment(options: WaitOptions): Promise<Assignment> {
  let said = "";
  for (;;) {
    // Listening begins before the look, so that a change in between is not missed.
    const changed = options.changed();
    const finding = await look(options);
    if (finding.kind === "complete") return finding.assignment;
    const detail = finding.kind === "waiting" ? "there are no credentials yet" : finding.detail;
    if (detail !== said) options.log.info({ detail }, "waiting for the metadata");
    said = detail;
    const again = new AbortController();
    const pause = options.clock.sleep(options.retryWait, AbortSignal.any([options.signal, again.signal]));
    await Promise.race([changed, pause]);
    again.abort();
    await pause.catch(() => undefined);
    options.signal.throwIfAborted();
  }
}

async function look({ client, signal }: WaitOptions): Promise<Finding> {
  try {
    return readAssignment(await client.read(METADATA_PATH, signal));
  } catch (error) {
    signal.throwIfAborted();
    return { kind: "missing", detail: describe(error) };
  }
}

function readCredentials(tree: Record<string, unknown>, instance: string): Credentials | undefined {
  const [uuid, token] = [text(tree, "uuid"), text(tree, "token")];
  if (uuid === "" || token === "") return undefined;
  const handle = text(tree, "handle");
  return {
    row: text(tree, "row"),
    uuid,
    token,
    address: text(tree, "address") || instance,
    labels: list(text(tree, "labels")),
    ephemeral: text(tree, "ephemeral") !== "false",
    ...(handle === "" ? {} : { handle }),
  };
}

export function isLegacy(credentials: Assignment["credentials"]): credentials is LegacyRegistration {
  return "registrationToken" in credentials;
}

/** The registration that the host made. Throws where there is only a registration token. */
export function registered(assignment: Assignment): Credentials {
  if (!isLegacy(assignment.credentials)) return assignment.credentials;
  throw new FireteactError("NO_CREDENTIALS", `the engine ${assignment.engine} does not register by itself`);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A bounded text without control characters, or the empty one. */
function text(tree: Record<string, unknown>, key: string): string {
  const value = tree[key];
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return typeof value === "string" && value.length <= 20_000 && !/\p{Cc}/u.test(value) ? value.trim() : "";
}

const list = (joined: string): string[] =>
  joined
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
