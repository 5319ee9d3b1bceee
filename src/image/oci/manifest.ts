import * as z from "zod";
import { FireteactError } from "../../base/errors.ts";
import { badImage } from "./errors.ts";
import { DIGEST } from "./reference.ts";

/** Part of an image as a manifest names it. */
export const Descriptor = z.object({
  mediaType: z.string().max(255).default(""),
  digest: z.string().regex(DIGEST, "only sha256 digests are supported"),
  size: z.int().nonnegative(),
});
export type Descriptor = z.infer<typeof Descriptor>;

const Platform = z.object({
  os: z.string().max(64).default(""),
  architecture: z.string().max(64).default(""),
  variant: z.string().max(64).optional(),
});

const Index = z.object({ manifests: z.array(Descriptor.extend({ platform: Platform.optional() })).max(1_024) });
const MOST_LAYERS = 256;
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).min(1).max(MOST_LAYERS) });
export type Manifest = z.infer<typeof Manifest>;

const Config = z.object({
  architecture: z.string().max(64).default(""),
  os: z.string().max(64).default(""),
  rootfs: z.object({ diff_ids: z.array(z.string().regex(DIGEST)).max(MOST_LAYERS) }),
});
export type ImageConfig = z.infer<typeof Config>;

/** What is asked for, besides what every registry answers. */
export const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];

const LAYER = /^application\/vnd\.(?:oci\.image\.layer\.v1|docker\.image\.rootfs\.diff)\.tar(?:[.+](?:gzip|zstd))?$/;

/** Architecture of this host in the words of images. */
export function hostArchitecture(arch: string = process.arch): string {
  const names: Record<string, string> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
  return names[arch] ?? arch;
}

/** Reads a manifest: the image's own, or an index of those for several architectures. */
export function readManifest(text: string, name: string): { manifest: Manifest } | { index: z.infer<typeof Index> } {
  const value = parse(text, z.looseObject({ schemaVersion: z.number().optional() }), name);
  if (value.schemaVersion === 1) {
    throw badImage(`${name} is in the format of Docker before 1.10 (schema 1), which is not supported`);
  }
  if ("manifests" in value) return { index: parse(text, Index, name) };
  const manifest = parse(text, Manifest, name);
  const other = manifest.layers.find(({ mediaType }) => mediaType !== "" && !LAYER.test(mediaType));
  if (other !== undefined) throw badImage(`${name} has a layer that is no part of a file system: ${other.mediaType}`);
  return { manifest };
}

/** The image for this host out of an index. @throws FireteactError `IMAGE_ARCHITECTURE` */
export function choose(index: z.infer<typeof Index>, name: string, architecture = hostArchitecture()): Descriptor {
  const fits = index.manifests.filter(
    ({ platform }) => platform?.os === "linux" && platform.architecture === architecture,
  );
  // Of arm64 there may be variants; the plain one and v8 are the same.
  const found = fits.find(({ platform }) => [undefined, "", "v8"].includes(platform?.variant)) ?? fits[0];
  if (found !== undefined) return found;
  const there = index.manifests
    .map(({ platform }) => `${platform?.os}/${platform?.architecture}`)
    .filter((each) => !each.includes("unknown") && !each.includes("undefined"));
  throw wrongArchitecture(
    name,
    [...new Set(there)].slice(0, 12).join(", ") || "nothing that can be started",
    architecture,
  );
}

/** Reads an image's configuration and makes sure that it is for this host. @throws FireteactError `IMAGE_ARCHITECTURE` */
export function readConfig(text: string, name: string, architecture = hostArchitecture()): ImageConfig {
  const config = parse(text, Config, name);
  if (config.os !== "linux" || config.architecture !== architecture) {
    throw wrongArchitecture(name, `${config.os || "unknown"}/${config.architecture || "unknown"}`, architecture);
  }
  return config;
}

const wrongArchitecture = (name: string, there: string, wanted: string): FireteactError =>
  new FireteactError("IMAGE_ARCHITECTURE", `${name} is for ${there}, and this host needs linux/${wanted}`, {
    hint: `Build it for this host too: docker buildx build --platform linux/${wanted}`,
  });

function parse<T>(text: string, schema: z.ZodType<T>, name: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badImage(`What the registry gave for ${name} is not JSON`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw badImage(`What the registry gave for ${name} is no image: ${issue?.path.join(".")}: ${issue?.message}`);
}
