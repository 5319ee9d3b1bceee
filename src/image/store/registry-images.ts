import { describe, FireteactError } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { BootFiles } from "../boot-files.ts";
import { collect } from "../collect.ts";
import { assemble, assembledDigest, reassemble } from "../oci/assemble.ts";
import { openImage, type PullSettings } from "../oci/pull.ts";
import { type ImageReference, parseReference } from "../oci/reference.ts";
import type { GuestImage } from "../port.ts";
import { checkFiles, type ImageRecord, imageDirectory, isDamage, readRecord, toImage } from "../record.ts";
import { type PulledRecord, readPulled, writePulled } from "./pulled.ts";

/** When a registry is asked for an image. */
export type PullPolicy = "Always" | "IfNotPresent" | "Never";

export interface RegistryImagesOptions {
  places: Places;
  settings: () => PullSettings;
  /** What the owner wants for a reference. */
  policyOf: (reference: string) => PullPolicy;
  boot: (signal: AbortSignal, progress: (line: string) => void) => Promise<BootFiles>;
  /** Milliseconds for which an answer about a tag is good. Default 5 min. */
  askEvery?: number;
}

/** Images from registries, kept in this host's store. */
export interface RegistryImages {
  resolve(reference: string, signal: AbortSignal, progress: (line: string) => void): Promise<GuestImage>;
  /** Asks the registry now whether the reference means another image, and pulls that. */
  pull(reference: string, signal: AbortSignal, progress: (line: string) => void): Promise<GuestImage>;
  /** Where the policy wants it and the last answer is old: asks again. Only for what was resolved before. */
  refresh(reference: string, progress: (line: string) => void): Promise<void>;
  verify(reference: string): Promise<void>;
  digestOf(reference: string): Promise<string | undefined>;
  /** Ends what is being pulled; what came of it stays. */
  close(): Promise<void>;
}

const ASK_EVERY = 5 * 60_000;

export function createRegistryImages(options: RegistryImagesOptions): RegistryImages {
  const { places, settings, policyOf, boot, askEvery = ASK_EVERY } = options;
  const closing = new AbortController();
  const running = new Map<string, Promise<GuestImage>>();
  /** When a registry last said what a tag is, by the process's own clock. */
  const asked = new Map<string, number>();
  /** What was found to be in order since this process began. */
  const settled = new Set<string>();
  const tidying = new Set<Promise<void>>();

  /** Callers share one pull, which ends with none of them: what takes longer than one may wait is there for the next. */
  async function shared(
    reference: ImageReference,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<GuestImage>,
  ): Promise<GuestImage> {
    signal.throwIfAborted();
    const { timeout } = settings();
    const limit = AbortSignal.timeout(timeout);
    const begin = async () => {
      try {
        return await work(AbortSignal.any([closing.signal, limit]));
      } catch (error) {
        throw limit.aborted ? tooSlow(reference, timeout) : error;
      } finally {
        running.delete(reference.text);
      }
    };
    const pull = running.get(reference.text) ?? begin();
    running.set(reference.text, pull);
    return await unlessAborted(pull, signal);
  }

  async function find(reference: ImageReference, signal: AbortSignal, progress: (line: string) => void) {
    const policy = policyOf(reference.text);
    const pulled = await readPulled(places, reference.text);
    const here = pulled === undefined ? undefined : await whole(pulled);
    if (pulled === undefined || here === undefined) {
      if (policy === "Never") throw missing(reference);
      return await pullNow(reference, pulled, signal, progress);
    }
    const isFixed = "digest" in reference.version;
    if (policy !== "Always" || isFixed || settled.has(reference.text))
      return await current(pulled, here, signal, progress);
    return await pullNow(reference, pulled, signal, progress);
  }

  async function pullNow(
    reference: ImageReference,
    pulled: PulledRecord | undefined,
    signal: AbortSignal,
    progress: (line: string) => void,
  ): Promise<GuestImage> {
    await using remote = openImage(reference, settings());
    const here = pulled === undefined ? undefined : await whole(pulled);
    if (pulled !== undefined && here !== undefined && (await remote.digest(signal)) === pulled.remote) {
      asked.set(reference.text, performance.now());
      return await current(pulled, here, signal, progress);
    }
    progress(`pulling ${reference.text}`);
    const described = await remote.describe(signal);
    const files = await boot(signal, progress);
    const { mostBytes } = settings();
    const record = await assemble(remote, described, { places, boot: files, mostBytes, signal, progress });
    await note(reference.text, described.digest, record);
    asked.set(reference.text, performance.now());
    tidy(progress);
    return toImage(places, record);
  }

  /** What the new image has superseded goes; nobody waits for that. */
  function tidy(progress: (line: string) => void): void {
    const work = collect(places, { signal: closing.signal })
      .then(() => undefined)
      .catch((error: unknown) => {
        if (!closing.signal.aborted) progress(`old images could not be cleared away: ${describe(error)}`);
      })
      .finally(() => tidying.delete(work));
    tidying.add(work);
  }

  /** What is here, with the boot files of now: this program or the kernel may be newer than the image. */
  async function current(
    pulled: PulledRecord,
    here: ImageRecord,
    signal: AbortSignal,
    progress: (line: string) => void,
  ): Promise<GuestImage> {
    const { source } = here;
    if (settled.has(pulled.reference) || source === undefined) return toImage(places, here);
    const files = await boot(signal, progress);
    const isCurrent = here.digest === assembledDigest(source, files);
    const { mostBytes } = settings();
    const record = isCurrent ? here : await reassemble(source, { places, boot: files, mostBytes, signal, progress });
    if (record !== undefined) await note(pulled.reference, pulled.remote, record);
    return toImage(places, record ?? here);
  }

  async function note(reference: string, remote: string, record: ImageRecord): Promise<void> {
    const before = await readPulled(places, reference);
    settled.add(reference);
    if (before?.image === record.digest && before.remote === remote) return;
    await writePulled(places, { reference, remote, image: record.digest, pulledAt: Date.now() });
  }

  async function recordOf(pulled: PulledRecord): Promise<ImageRecord | undefined> {
    return await readRecord(imageDirectory(places, pulled.image));
  }

  /** A damaged image counts as none: it is pulled again. */
  async function whole(pulled: PulledRecord): Promise<ImageRecord | undefined> {
    try {
      const record = await recordOf(pulled);
      if (record !== undefined) await checkFiles(places, record);
      return record;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  }

  return {
    resolve: async (text, signal, progress) => {
      const reference = parseReference(text);
      return await shared(reference, signal, (own) => find(reference, own, progress));
    },

    pull: async (text, signal, progress) => {
      const reference = parseReference(text);
      settled.delete(reference.text);
      return await shared(reference, signal, async (own) =>
        pullNow(reference, await readPulled(places, reference.text), own, progress),
      );
    },

    refresh: async (text, progress) => {
      const reference = parseReference(text);
      const last = asked.get(reference.text);
      const isDue = last !== undefined && performance.now() - last >= askEvery;
      if (!isDue || policyOf(reference.text) !== "Always" || "digest" in reference.version) return;
      // Asked once, whatever comes of it: a registry that is down is not asked more often than one that is up.
      asked.set(reference.text, performance.now());
      const pulled = await readPulled(places, reference.text);
      // Beside `shared`: a guest that starts meanwhile takes the image that is here, and does not wait.
      const limit = AbortSignal.any([closing.signal, AbortSignal.timeout(settings().timeout)]);
      await pullNow(reference, pulled, limit, progress).catch((error: unknown) => {
        if (!closing.signal.aborted) progress(`${reference.text} stays as it is: ${describe(error)}`);
      });
    },

    verify: async (text) => {
      const reference = parseReference(text);
      const pulled = await readPulled(places, reference.text);
      const record = pulled === undefined ? undefined : await recordOf(pulled);
      if (record === undefined) throw missing(reference);
      await checkFiles(places, record);
    },

    digestOf: async (text) => (await readPulled(places, parseReference(text).text))?.image,

    close: async () => {
      closing.abort(new FireteactError("PULL_ENDED", "the pull was ended with the program"));
      await Promise.allSettled([...running.values(), ...tidying]);
    },
  };
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

const missing = ({ text }: ImageReference): FireteactError =>
  new FireteactError("IMAGE_MISSING", `The image ${text} is not on this host`, {
    hint: `fireteact image pull ${text}`,
    facts: { reference: text },
  });

const tooSlow = ({ text }: ImageReference, timeout: number): FireteactError =>
  new FireteactError("PULL_TIMEOUT", `Pulling ${text} took more than ${Math.round(timeout / 60_000)} min`, {
    hint: "What has come is kept, and the next try goes on from it. images.pullTimeout gives it more time",
  });
