import { createHash, type Hash } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import pRetry from "p-retry";
import { ignore, systemCode } from "../../base/errors.ts";
import { withLock } from "../lock.ts";
import { unreachable } from "./connections.ts";
import { lied, RegistryError } from "./errors.ts";
import type { Descriptor } from "./manifest.ts";
import type { Source } from "./registry.ts";

export interface FetchOptions {
  /** Holds a file for each blob, named by its digest; private to root. */
  directory: string;
  sources: readonly Source[];
  signal: AbortSignal;
  /** Called with the bytes that have come, those of an earlier try included. */
  onBytes?: (count: number) => void;
  /** Milliseconds of the first pause between two tries. Default 500. */
  pause?: number;
}

const RETRIES = 4;

/** Name of a blob's file. */
export const blobFile = (directory: string, digest: string): string => join(directory, digest.replace("sha256:", ""));

/**
 * Fetches a blob unless it is here, and returns its file. What comes is kept beside it as `.part`, so that the next try
 * goes on where this one ended; it gets its name only once digest and size are right. One process at a time fetches a blob.
 *
 * @throws RegistryError, or the system's error where it cannot be written
 */
export async function fetchBlob(blob: Descriptor, options: FetchOptions): Promise<string> {
  const { directory, signal } = options;
  const file = blobFile(directory, blob.digest);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return await withLock(`${file}.lock`, { signal, onWait: () => undefined }, async () => {
    const here = await stat(file).catch(ignore("ENOENT"));
    if (here?.size === blob.size) {
      // It is in use now, whatever the next clean-up thinks.
      await utimes(file, new Date(), new Date());
      options.onBytes?.(blob.size);
      return file;
    }
    await fetchFromAny(blob, `${file}.part`, options);
    await rename(`${file}.part`, file);
    return file;
  });
}

/** Each source in its turn; what one gave before it broke off, the next continues. */
async function fetchFromAny(blob: Descriptor, part: string, options: FetchOptions): Promise<void> {
  let last: unknown;
  for (const source of options.sources) {
    try {
      await fetchFrom(source, blob, part, options);
      return;
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof RegistryError)) throw error;
      last = error;
    }
  }
  throw last;
}

async function fetchFrom(source: Source, blob: Descriptor, part: string, options: FetchOptions): Promise<void> {
  const { signal, pause = 500 } = options;
  await pRetry(async () => await attempt(source, blob, part, options), {
    retries: RETRIES,
    minTimeout: 0,
    signal,
    shouldRetry: async ({ error, attemptNumber }) => {
      if (!(error instanceof RegistryError) || !error.transient) return false;
      await sleep(error.retryAfter ?? pause * 2 ** (attemptNumber - 1), undefined, { signal });
      return true;
    },
  });
}

async function attempt(source: Source, blob: Descriptor, part: string, options: FetchOptions): Promise<void> {
  await using file = await open(part, "a+", 0o600);
  let kept = (await file.stat()).size;
  if (kept > blob.size) kept = 0;
  const resumed = kept > 0;
  let hash = createHash("sha256");
  if (kept < blob.size || blob.size === 0) {
    const { body, start } = await source.blob(blob.digest, kept, options.signal);
    // A registry that knows no ranges begins anew.
    kept = start;
    await file.truncate(kept);
    await digestOf(file, kept, hash);
    await append(body, file, { source, blob, hash, kept, options });
  } else await digestOf(file, kept, hash);
  if (`sha256:${hash.digest("hex")}` === blob.digest) return await file.sync();
  hash = createHash("sha256");
  await rm(part, { force: true });
  // What an earlier process left may have been damaged by a crash: that is no lie of the registry's.
  if (resumed)
    throw new RegistryError("REGISTRY_ANSWER", "what was kept of a download is damaged", { transient: true });
  throw lied(`${source.name} gave other content than ${blob.digest}`, { size: blob.size });
}

interface Appending {
  source: Source;
  blob: Descriptor;
  hash: Hash;
  kept: number;
  options: FetchOptions;
}

async function append(
  body: Readable,
  file: FileHandle,
  { source, blob, hash, kept, options }: Appending,
): Promise<void> {
  let size = kept;
  options.onBytes?.(size);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > blob.size) throw lied(`${source.name} gives more than the ${blob.size} bytes that ${blob.digest} has`);
      hash.update(chunk);
      await writeWhole(file, chunk);
      options.onBytes?.(size);
    }
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof RegistryError || isOfDisk(error)) throw error;
    throw unreachable(source.name, error);
  }
  if (size < blob.size) {
    throw unreachable(source.name, new Error(`it ended a download after ${size} of ${blob.size} bytes`));
  }
}

/** A write may take only a part, above all on a disk that is nearly full. */
async function writeWhole(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
}

const isOfDisk = (error: unknown): boolean => ["ENOSPC", "EDQUOT", "EROFS", "EIO"].includes(systemCode(error) ?? "");

async function digestOf(file: FileHandle, size: number, hash: Hash): Promise<void> {
  const buffer = Buffer.allocUnsafe(1024 * 1024);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) return;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}
