import { existsSync } from "node:fs";
import { actionOf, defineCommand, textOption } from "./command.ts";
import { DEFAULT_CONFIG, placesFromEnvironment } from "./places.ts";
import { duration, table } from "./render/table.ts";

interface ImageResult {
  /** `config` is the file whose guest section the image has; absent without one. */
  built?: { name: string; digest: string; changed: boolean; mebibytes: number; milliseconds: number; config?: string };
  images?: { digest: string; kernel: string; rootfs: string }[];
}

export const image = defineCommand<ImageResult>({
  name: "image",
  summary: "build the guest image, or list the images",
  args: [{ name: "[action]", description: "list (default) or build" }],
  options: [
    {
      flags: "-c, --config <file>",
      description: `configuration whose guest section the image is built with (default ${DEFAULT_CONFIG}, if it exists)`,
    },
    { flags: "--name <name>", description: "name of the image: pools name it local:NAME", default: "default" },
    { flags: "--refresh", description: "fetch the current kernel and packages even when nothing else changed" },
  ],
  run: async (context) => {
    const places = placesFromEnvironment();
    if (actionOf("image", context.args[0], ["list", "build"]) === "list") {
      const { createImages } = await import("../image/store/images.ts");
      const images = await createImages({ places }).list();
      return { images: images.map(({ digest, kernelVersion, rootfs }) => ({ digest, kernel: kernelVersion, rootfs })) };
    }
    const [{ buildImage }, { imageSources }] = await Promise.all([
      import("../image/build/build.ts"),
      import("../serve/programs.ts"),
    ]);
    const name = textOption(context, "name") ?? "default";
    const file = configOf(textOption(context, "config"));
    context.progress(file === undefined ? "without a configuration" : `with the guest settings of ${file}`);
    const guest =
      file === undefined ? undefined : (await import("../config/load.ts")).loadConfig(file, process.env).settings.guest;
    const refresh = context.options["refresh"] === true;
    const built = await buildImage(imageSources(guest), {
      places,
      name,
      refresh,
      signal: new AbortController().signal,
      progress: context.progress,
    });
    const { digest } = built.image;
    return {
      built: {
        name,
        digest,
        changed: built.changed,
        mebibytes: Math.round(built.bytes / 2 ** 20),
        milliseconds: Math.round(built.milliseconds),
        ...(file === undefined ? {} : { config: file }),
      },
    };
  },
  render: ({ built, images = [] }) => {
    if (built !== undefined) {
      const what = built.changed ? `built in ${duration(built.milliseconds)}` : "is up to date";
      const made = built.config === undefined ? "without a configuration" : `with the settings of ${built.config}`;
      return `image local:${built.name} ${what}, ${made}: ${built.mebibytes} MiB, ${built.digest}`;
    }
    if (images.length === 0) return "there is no image yet; build one with 'fireteact image build'";
    return table(
      ["DIGEST", "KERNEL"],
      images.map(({ digest, kernel }) => [digest, kernel]),
    );
  },
});

/** What is named, or else what the daemon reads, so that both make the same image; undefined where there is neither. */
export function configOf(named: string | undefined, usual: string = DEFAULT_CONFIG): string | undefined {
  return named ?? (existsSync(usual) ? usual : undefined);
}
