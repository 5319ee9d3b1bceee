import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { runTool } from "../tool.ts";

/**
 * The slow layer of an image: Debian's packages as a tar archive, kept under `<state>/images/base/<key>.tar` and made
 * again only when this specification changes or newer packages are asked for.
 */
export interface BaseSpec {
  suite: string;
  /** Packages beyond Debian's essential ones. */
  packages: readonly string[];
  /** Archive to install from; Debian's own (with updates and security) where none is given. */
  mirror?: string;
}

/** What every image has: what jobs expect, and the libraries of the Node binary. */
const BASE_PACKAGES = ["bash", "ca-certificates", "git", "libstdc++6", "mount"];

/** Nobody reads these in a guest; licences stay. */
const EXCLUDED = ["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"];
const INCLUDED = ["/usr/share/doc/*/copyright"];

/** All times in an image are this one, so that the same content gives the same files. */
export const IMAGE_EPOCH = 1_735_689_600;

export function baseSpec(packages: readonly string[] = [], mirror?: string): BaseSpec {
  const all = [...new Set([...BASE_PACKAGES, ...packages])].toSorted();
  return { suite: "bookworm", packages: all, ...(mirror === undefined ? {} : { mirror }) };
}

export interface BaseOptions {
  places: Places;
  signal: AbortSignal;
  progress: (line: string) => void;
  /** Installs anew, to get newer packages. */
  refresh?: boolean;
}

export interface BaseArchive {
  path: string;
  /** Changes whenever the archive is made again, with whatever packages were current then. */
  version: string;
}

/** The archive for a specification, made when it is not here. The caller holds the build's lock. */
export async function baseArchive(spec: BaseSpec, options: BaseOptions): Promise<BaseArchive> {
  const { places, signal, progress } = options;
  const directory = join(places.state, "images", "base");
  const path = join(directory, `${baseKey(spec)}.tar`);
  const here = await stat(path).catch(ignore("ENOENT"));
  if (here !== undefined && options.refresh !== true) return { path, version: versionOf(here) };

  progress(`installing Debian ${spec.suite} into the image: ${spec.packages.join(", ")}`);
  await mkdir(directory, { recursive: true });
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  await runTool("mmdebstrap", mmdebstrapArguments(spec, draft), {
    signal,
    env: { SOURCE_DATE_EPOCH: String(IMAGE_EPOCH) },
    onLine: (line) => {
      const step = /^I: ((?:downloading|extracting|installing|creating) .*)/.exec(line)?.[1];
      if (step !== undefined) progress(step);
    },
  });
  // The record beside it is for people; the key alone decides.
  await writeFile(path.replace(/\.tar$/, ".json"), `${JSON.stringify(spec, null, 2)}\n`);
  await rename(draft, path);
  return { path, version: versionOf(await stat(path)) };
}

const versionOf = ({ size, mtimeMs }: Stats): string => `${size}-${mtimeMs}`;

/** Name of a specification's archive. */
export function baseKey(spec: BaseSpec): string {
  const text = JSON.stringify([spec, EXCLUDED, INCLUDED, IMAGE_EPOCH]);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

export function mmdebstrapArguments(spec: BaseSpec, target: string): string[] {
  return [
    "--mode=root",
    "--format=tar",
    "--variant=essential",
    `--include=${spec.packages.join(",")}`,
    // The target appears by rename when it is whole, so dpkg need not sync every file.
    "--dpkgopt=force-unsafe-io",
    ...EXCLUDED.map((pattern) => `--dpkgopt=path-exclude=${pattern}`),
    ...INCLUDED.map((pattern) => `--dpkgopt=path-include=${pattern}`),
    '--aptopt=Acquire::Languages "none"',
    spec.suite,
    target,
    ...(spec.mirror === undefined ? [] : [spec.mirror]),
  ];
}
