import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pRetry from "p-retry";
import { blobFile, fetchBlob } from "./blobs.ts";
import { badImage, RegistryError, tooLarge } from "./errors.ts";
import { choose, type Descriptor, type ImageConfig, type Manifest, readConfig, readManifest } from "./manifest.ts";
import type { ImageReference } from "./reference.ts";
import { type RegistrySettings, type Source, sourcesOf } from "./registry.ts";

/** What the host's owner says of pulling. */
export interface PullSettings {
  /** Docker's configuration, with credentials. */
  authFile: string;
  /** Most bytes of an image, packed as well as unpacked. */
  mostBytes: number;
  /** Milliseconds that a pull may take. */
  timeout: number;
  /** By host; what is not named is asked over HTTPS. */
  registries: ReadonlyMap<string, RegistrySettings>;
}

/** An image as its registry describes it now. */
export interface Described {
  reference: ImageReference;
  /** What the reference points to: an index, or the manifest itself. */
  digest: string;
  /** The manifest of this host's architecture. */
  manifestDigest: string;
  manifest: Manifest;
}

/** One image at its registry and the mirrors of that. */
export interface RemoteImage extends AsyncDisposable {
  /** Digest that the tag has now; undefined where the registry does not say it without giving the manifest. */
  digest(signal: AbortSignal): Promise<string | undefined>;
  describe(signal: AbortSignal): Promise<Described>;
  /** Makes sure of all its blobs; returns its configuration and the layers' files. */
  fetch(
    described: Described,
    options: { directory: string; signal: AbortSignal; progress: (line: string) => void },
  ): Promise<{ config: ImageConfig; layers: string[] }>;
}

const DEFAULT_REGISTRY: RegistrySettings = { mirrors: [], plainHttp: false };
const RETRIES = 3;
const FIRST_PAUSE = 500;
const AT_ONCE = 3;
const MOST_CONFIG = 4 * 1024 * 1024;
const PROGRESS_EVERY = 3_000;

export function openImage(reference: ImageReference, settings: PullSettings): RemoteImage {
  const { text } = reference;
  const registry = settings.registries.get(reference.registry) ?? DEFAULT_REGISTRY;
  const sources = sourcesOf(reference, registry, settings.authFile);
  const version = "digest" in reference.version ? reference.version.digest : reference.version.tag;

  return {
    digest: async (signal) =>
      "digest" in reference.version
        ? reference.version.digest
        : await firstOf(sources, signal, (source) => source.digestOf(version, signal)),

    async describe(signal) {
      const top = await firstOf(sources, signal, (source) => source.manifest(version, signal));
      const read = readManifest(top.text, text);
      if ("manifest" in read) return { reference, digest: top.digest, manifestDigest: top.digest, ...read };
      const { digest } = choose(read.index, text);
      const inner = readManifest(
        (await firstOf(sources, signal, (source) => source.manifest(digest, signal))).text,
        text,
      );
      if ("index" in inner) throw badImage(`${text} is an index of indexes, which is not supported`);
      return { reference, digest: top.digest, manifestDigest: digest, ...inner };
    },

    async fetch({ manifest }, { directory, signal, progress }) {
      const { config: about, layers } = manifest;
      if (about.size > MOST_CONFIG) throw tooLarge(`the configuration of ${text} has ${about.size} bytes`);
      const total = layers.reduce((sum, { size }) => sum + size, about.size);
      if (total > settings.mostBytes)
        throw tooLarge(`${text} has ${Math.ceil(total / 2 ** 20)} MiB, more than is allowed`);
      // Its architecture is known before the layers come.
      const config = readConfig(await readFile(await fetchBlob(about, { directory, sources, signal }), "utf8"), text);
      const came = progressOf(text, layers, progress);
      await eachOf(layers, (layer) => fetchBlob(layer, { directory, sources, signal, onBytes: came(layer) }));
      return { config, layers: layers.map(({ digest }) => blobFile(directory, digest)) };
    },

    async [Symbol.asyncDispose]() {
      for (const source of sources) await source.close();
    },
  };
}

/** Asks one place after the other, each again while it may do better. */
async function firstOf<T>(
  sources: readonly Source[],
  signal: AbortSignal,
  ask: (source: Source) => Promise<T>,
): Promise<T> {
  let last: unknown;
  for (const source of sources) {
    try {
      return await pRetry(async () => await ask(source), {
        retries: RETRIES,
        minTimeout: 0,
        signal,
        shouldRetry: async ({ error, attemptNumber }) => {
          if (!(error instanceof RegistryError) || !error.transient) return false;
          await sleep(error.retryAfter ?? FIRST_PAUSE * 2 ** (attemptNumber - 1), undefined, { signal });
          return true;
        },
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryError)) throw error;
      last = error;
    }
  }
  throw last;
}

/** A few at a time; the same blob may be there twice. The first failure ends the others. */
async function eachOf(blobs: readonly Descriptor[], work: (blob: Descriptor) => Promise<unknown>): Promise<void> {
  const waiting = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  const worker = async () => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
      await work(blob).catch((error: unknown) => {
        waiting.length = 0;
        throw error;
      });
    }
  };
  const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const rejected = results.find((result) => result.status === "rejected");
  if (rejected !== undefined) throw rejected.reason;
}

function progressOf(name: string, layers: readonly Descriptor[], progress: (line: string) => void) {
  const here = new Map<string, number>();
  const total = [...new Map(layers.map(({ digest, size }) => [digest, size])).values()].reduce(
    (sum, size) => sum + size,
    0,
  );
  let last = performance.now();
  return (layer: Descriptor) => (count: number) => {
    here.set(layer.digest, count);
    if (performance.now() - last < PROGRESS_EVERY) return;
    last = performance.now();
    const sum = [...here.values()].reduce((all, each) => all + each, 0);
    progress(`pulling ${name}: ${Math.floor((sum / Math.max(total, 1)) * 100)} % of ${Math.ceil(total / 2 ** 20)} MiB`);
  };
}

/** Where pulled blobs and work directories lie. */
export const pullDirectory = (imagesDirectory: string): string => join(imagesDirectory, "pull");
