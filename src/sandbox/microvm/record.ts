import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { replaceFileSync } from "../../base/atomic-file.ts";
import { ignore } from "../../base/errors.ts";
import type { ProcessIdentity } from "../../base/process.ts";
import { HEX } from "./places.ts";

/**
 * What is known of a microVM without any store: enough to go on with it or to take it apart. Written before anything
 * else is made, and again whenever there is more to take apart.
 */
export interface SandboxRecord {
  version: 1;
  /** The driver that made it; every other driver leaves it alone. */
  driver: string;
  hex: string;
  pool: string;
  runnerId: string;
  memoryMib: number;
  vcpus: number;
  /** Uptime, in `boot`, at which it was begun. */
  since: number;
  boot: string;
  /** Digest of the image that it boots: it is not cleared away meanwhile. */
  image?: string | undefined;
  /** User id that only this sandbox's monitor has. */
  uid?: number | undefined;
  /** The guest's address as the host sees it. */
  address?: string | undefined;
  /** Control groups that the monitor is in. */
  cgroups?: string[] | undefined;
  /** The monitor's own service answers the guest's requests for metadata. */
  mmds?: boolean | undefined;
  /** What runs the monitor; absent until just before it starts. */
  process?: ProcessIdentity | undefined;
}

const boot = z.string().max(64);
const schema: z.ZodType<SandboxRecord> = z.object({
  version: z.literal(1),
  driver: z.string().max(32),
  hex: z.string().regex(HEX),
  pool: z.string().max(256),
  runnerId: z.string().max(300),
  memoryMib: z.int().nonnegative(),
  vcpus: z.int().nonnegative(),
  since: z.number().nonnegative(),
  boot,
  image: z.string().max(256).optional(),
  // Never a user of the host: everything that runs as this one is ended with the sandbox.
  uid: z.int().min(1000).max(0xffff_fffd).optional(),
  address: z.ipv4().optional(),
  cgroups: z.array(z.string().startsWith("/").max(4_096)).max(4).optional(),
  mmds: z.boolean().optional(),
  process: z.object({ pid: z.int().min(2), start: z.int().nonnegative(), boot }).optional(),
});

const MAX_BYTES = 64 * 1024;

export const recordFile = (directory: string): string => join(directory, "record.json");

export function writeRecord(directory: string, record: SandboxRecord): void {
  replaceFileSync(recordFile(directory), `${JSON.stringify(record)}\n`);
}

/** The record; `damaged` where there is one that cannot be understood, undefined where there is none. */
export function readRecord(directory: string): SandboxRecord | "damaged" | undefined {
  const parsed = readJson(recordFile(directory), schema);
  return parsed === undefined ? undefined : (parsed.value ?? "damaged");
}

/** How the monitor ended: its exit status as a shell has it, 128 + number for a signal. */
export interface RecordedExit {
  status: number;
  /** Unix milliseconds. */
  at: number;
}

const CONDEMNED_FILE = "condemned.json";
const condemnedSchema = z.object({ reason: z.string().max(1_000) });

/** Notes why a sandbox has to end, before it is made to. */
export function writeCondemned(directory: string, reason: string): void {
  replaceFileSync(join(directory, CONDEMNED_FILE), JSON.stringify({ reason: reason.slice(0, 1_000) }));
}

/** Why the sandbox was made to end; undefined where it was not. */
export function readCondemned(directory: string): string | undefined {
  return readJson(join(directory, CONDEMNED_FILE), condemnedSchema)?.value?.reason;
}

const exitSchema = z.object({ status: z.int().min(0).max(255) });
export const EXIT_FILE = "exit.json";

/** The recorded end; undefined while there is none. One that cannot be understood counts as status 255. */
export function readExit(directory: string): RecordedExit | undefined {
  const path = join(directory, EXIT_FILE);
  const parsed = readJson(path, exitSchema);
  if (parsed === undefined) return undefined;
  // The file appears by a rename of what was just written: its time is the time of the end.
  const at = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  return { status: parsed.value?.status ?? 255, at: Math.round(at) };
}

/** `value` is absent when the file does not hold what the schema says; undefined when there is no file. */
function readJson<T>(path: string, schema: z.ZodType<T>): { value?: T } | undefined {
  try {
    const text = readFileSync(path, "utf8");
    if (text.length > MAX_BYTES) return {};
    const result = schema.safeParse(JSON.parse(text));
    return result.success ? { value: result.data } : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    return ignore("ENOENT", "ENOTDIR")(error);
  }
}
