import { existsSync } from "node:fs";
import type { Settings } from "../core/settings.ts";
import type { Collected } from "../image/collect.ts";
import type { CommandContext } from "./command.ts";
import { actionOf, defineCommand, textOption, usage } from "./command.ts";
import { DEFAULT_CONFIG, placesFromEnvironment } from "./places.ts";
import { duration, table } from "./render/table.ts";

interface ImageResult {
  /** `config` is the file whose guest section the image has; absent without one. */
  built?: { name: string; digest: string; changed: boolean; mebibytes: number; milliseconds: number; config?: string };
  pulled?: { reference: string; digest: string; changed: boolean; milliseconds: number };
  collected?: Collected & { dryRun: boolean; mebibytes: number };
  images?: { digest: string; kernel: string; rootfs: string; names: string[]; mebibytes: number }[];
}

const NEVER = new AbortController().signal;

export const image = defineCommand<ImageResult>({
  name: "image",
  summary: "build or pull guest images, list them, or clear away old ones",
  args: [
    { name: "[action]", description: "list (default), build, pull or gc" },
    { name: "[reference]", description: "for pull: the image in its registry, such as ghcr.io/owner/image:tag" },
  ],
  options: [
    {
      flags: "-c, --config <file>",
      description: `configuration whose guest and images sections are used (default ${DEFAULT_CONFIG}, if it exists)`,
    },
    { flags: "--name <name>", description: "build: name of the image; pools name it local:NAME", default: "default" },
    { flags: "--refresh", description: "build: fetch the current kernel and packages even when nothing else changed" },
    { flags: "--dry-run", description: "gc: say what would go, and remove nothing" },
    { flags: "--plain-http", description: "pull: the registry has no TLS" },
  ],
  examples: ["fireteact image pull ghcr.io/owner/image:tag", "fireteact image build --name tools"],
  run: async (context) => {
    const action = actionOf("image", context.args[0], ["list", "build", "pull", "gc"]);
    if (action === "list") return { images: await list() };
    if (action === "gc") return { collected: await gc(context) };
    return action === "build" ? { built: await build(context) } : { pulled: await pull(context) };
  },
  render: ({ built, pulled, collected, images = [] }) => {
    if (built !== undefined) {
      const what = built.changed ? `built in ${duration(built.milliseconds)}` : "is up to date";
      const made = built.config === undefined ? "without a configuration" : `with the settings of ${built.config}`;
      return `image local:${built.name} ${what}, ${made}: ${built.mebibytes} MiB, ${built.digest}`;
    }
    if (pulled !== undefined) {
      const what = pulled.changed ? `pulled in ${duration(pulled.milliseconds)}` : "is up to date";
      return `image ${pulled.reference} ${what}: ${pulled.digest}`;
    }
    if (collected !== undefined) return collectedText(collected);
    if (images.length === 0) {
      return "there is no image yet; build one with 'fireteact image build', or pull one with 'fireteact image pull'";
    }
    return table(
      ["DIGEST", "MIB", "KERNEL", "NAMES"],
      images.map(({ digest, kernel, names, mebibytes }) => [
        digest,
        String(mebibytes),
        kernel,
        names.join(", ") || "-",
      ]),
    );
  },
});

async function list(): Promise<NonNullable<ImageResult["images"]>> {
  const { listImages } = await import("../image/store/list.ts");
  return await listImages(placesFromEnvironment());
}

async function build(context: CommandContext): Promise<NonNullable<ImageResult["built"]>> {
  const [{ buildImage }, { imageSources }] = await Promise.all([
    import("../image/build/build.ts"),
    import("../serve/programs.ts"),
  ]);
  const name = textOption(context, "name") ?? "default";
  const { file, settings } = await settingsOf(context);
  context.progress(file === undefined ? "without a configuration" : `with the guest settings of ${file}`);
  const refresh = context.options["refresh"] === true;
  const places = placesFromEnvironment();
  const { progress } = context;
  const built = await buildImage(imageSources(settings?.guest), { places, name, refresh, signal: NEVER, progress });
  return {
    name,
    digest: built.image.digest,
    changed: built.changed,
    mebibytes: Math.round(built.bytes / 2 ** 20),
    milliseconds: Math.round(built.milliseconds),
    ...(file === undefined ? {} : { config: file }),
  };
}

async function pull(context: CommandContext): Promise<NonNullable<ImageResult["pulled"]>> {
  const asked = context.args[1];
  if (asked === undefined) throw usage("which image is to be pulled?", "fireteact image pull ghcr.io/owner/image:tag");
  const [{ parseReference }, { registryImages }] = await Promise.all([
    import("../image/oci/reference.ts"),
    import("../serve/host-images.ts"),
  ]);
  const { text, registry } = parseReference(asked);
  const { settings } = await settingsOf(context);
  const images = settings?.images ?? { maxSizeMib: 20_480, pullTimeout: 30 * 60_000, registries: [] };
  const known = images.registries.find(({ host }) => host === registry) ?? { host: registry, mirrors: [] };
  const plain = { ...known, plainHttp: true };
  const registries = context.options["plainHttp"] === true ? [...images.registries, plain] : images.registries;
  const used = { pools: settings?.pools ?? [], images: { ...images, registries } };
  const store = registryImages(placesFromEnvironment(), () => used);
  const before = await store.digestOf(text);
  const started = performance.now();
  const { digest } = await store.pull(text, NEVER, context.progress);
  const milliseconds = Math.round(performance.now() - started);
  return { reference: text, digest, changed: digest !== before, milliseconds };
}

/** Pulled images that no pool of the configuration names are forgotten; without a configuration none is. */
async function gc(context: CommandContext): Promise<NonNullable<ImageResult["collected"]>> {
  const [{ collect }, { canonical }] = await Promise.all([
    import("../image/collect.ts"),
    import("../serve/host-images.ts"),
  ]);
  const { settings } = await settingsOf(context);
  const named = settings?.pools.map(({ image }) => (image === undefined ? undefined : canonical(image)));
  const dryRun = context.options["dryRun"] === true;
  const collected = await collect(placesFromEnvironment(), {
    ...(named === undefined ? {} : { isWanted: (reference) => named.includes(reference) }),
    dryRun,
    signal: NEVER,
    onWait: (pid) => context.progress(`waiting for process ${pid}, which builds an image or clears old ones away`),
  });
  return { ...collected, dryRun, mebibytes: Math.round(collected.bytes / 2 ** 20) };
}

function collectedText({
  images,
  references,
  blobs,
  mebibytes,
  dryRun,
  unknownSandboxes,
}: NonNullable<ImageResult["collected"]>) {
  const what = `${images.length} images, ${references.length} references, ${blobs} layers: ${mebibytes} MiB`;
  const kept = unknownSandboxes ? "; other images stay while sandboxes run that do not say theirs" : "";
  return `${dryRun ? "would remove" : "removed"} ${what}${kept}`;
}

async function settingsOf(context: CommandContext): Promise<{ file?: string; settings?: Settings }> {
  const file = configOf(textOption(context, "config"));
  if (file === undefined) return {};
  return { file, settings: (await import("../config/load.ts")).loadConfig(file, process.env).settings };
}

/** What is named, or else what the daemon reads, so that both make the same image; undefined where there is neither. */
export function configOf(named: string | undefined, usual: string = DEFAULT_CONFIG): string | undefined {
  return named ?? (existsSync(usual) ? usual : undefined);
}
