import { join } from "node:path";
import type { Places } from "../base/names.ts";
import type { ImageSettings, Settings } from "../core/settings.ts";
import { bootFiles } from "../image/boot-files.ts";
import { buildImage } from "../image/build/build.ts";
import { dockerConfigFile } from "../image/oci/credentials.ts";
import type { PullSettings } from "../image/oci/pull.ts";
import { parseReference } from "../image/oci/reference.ts";
import { localName } from "../image/record.ts";
import { createImages, type LocalImages } from "../image/store/images.ts";
import { createRegistryImages, type PullPolicy, type RegistryImages } from "../image/store/registry-images.ts";
import { imageSources } from "./programs.ts";

type Used = Pick<Settings, "pools" | "guest" | "images">;

/** The images of this host, built or pulled as its settings say. */
export function hostImages(places: Places, settings: () => Used): LocalImages {
  return createImages({
    places,
    build: (name, signal, progress) => buildImage(imageSources(settings().guest), { places, signal, progress, name }),
    registry: registryImages(places, settings),
  });
}

export function registryImages(places: Places, settings: () => Pick<Used, "pools" | "images">): RegistryImages {
  return createRegistryImages({
    places,
    settings: () => pullSettings(settings().images),
    policyOf: (reference) => policyOf(reference, settings().pools),
    boot: (signal, progress) => bootFiles(join(imageSources().files, "initrd", "init"), { places, signal, progress }),
  });
}

export function pullSettings({ authFile, maxSizeMib, pullTimeout, registries }: ImageSettings): PullSettings {
  return {
    authFile: authFile ?? dockerConfigFile(),
    mostBytes: maxSizeMib * 2 ** 20,
    timeout: pullTimeout,
    registries: new Map(
      registries.map(({ host, ...registry }) => [host === "index.docker.io" ? "docker.io" : host, registry]),
    ),
  };
}

/** Pools that share an image share what is pulled: the one that wants most has its way. */
export function policyOf(reference: string, pools: Settings["pools"]): PullPolicy {
  const wanted = pools
    .filter(({ image }) => image !== undefined && canonical(image) === reference)
    .map(({ imagePullPolicy }) => imagePullPolicy);
  return (["Always", "IfNotPresent", "Never"] as const).find((policy) => wanted.includes(policy)) ?? "IfNotPresent";
}

/** A registry reference in the one way of writing it; undefined for a local or a wrong one. */
export function canonical(image: string): string | undefined {
  if (localName(image) !== undefined) return undefined;
  try {
    return parseReference(image).text;
  } catch {
    return undefined;
  }
}
