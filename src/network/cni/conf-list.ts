import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { describe, FireteactError, ignore } from "../../base/errors.ts";
import { CNI_NETWORK } from "../../base/names.ts";

/** Versions of the specification, oldest first. Older ones have results of another shape. */
export const VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type CniVersion = (typeof VERSIONS)[number];

/** Whether a version has what came with another. */
export const has = (version: CniVersion, since: CniVersion): boolean =>
  VERSIONS.indexOf(version) >= VERSIONS.indexOf(since);

const flag = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]).default(false);

const Plugin = z.looseObject({
  // It becomes the name of a file.
  type: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "must be the bare name of a plugin"),
});
export type PluginConf = z.output<typeof Plugin>;

const List = z.object({
  cniVersion: z.string(),
  cniVersions: z.array(z.string()).max(20).default([]),
  name: z.literal(CNI_NETWORK),
  disableCheck: flag,
  disableGC: flag,
  plugins: z.array(Plugin).min(1).max(20),
});

/** A network configuration list, as one that is in use is recorded too. */
export const ConfList = z.object({
  cniVersion: z.enum(VERSIONS),
  name: z.literal(CNI_NETWORK),
  disableCheck: z.boolean(),
  disableGC: z.boolean(),
  plugins: z.array(Plugin).min(1).max(20),
});
export type ConfList = z.output<typeof ConfList>;

const MOST_BYTES = 256 * 1024;

/**
 * Finds the list with our name in a directory, where files count in the order of their names.
 * @throws FireteactError `CNI_CONF_MISSING` or `CNI_CONF_INVALID`
 */
export async function loadConfList(directory: string): Promise<{ file: string; list: ConfList }> {
  const names = (await readdir(directory).catch(ignore("ENOENT", "ENOTDIR", "EACCES"))) ?? [];
  const unreadable: string[] = [];
  for (const name of names.filter((name) => name.endsWith(".conflist")).sort()) {
    const file = join(directory, name);
    const found = await readJson(file).catch((error: unknown) => {
      unreadable.push(`${name}: ${describe(error)}`);
      return undefined;
    });
    if (nameOf(found) === CNI_NETWORK) return { file, list: parseConfList(found, file) };
  }
  throw new FireteactError(
    "CNI_CONF_MISSING",
    `no CNI configuration list in ${directory} has the name "${CNI_NETWORK}"`,
    {
      hint:
        unreadable.length > 0
          ? `these could not be read: ${unreadable.join("; ")}`
          : `put a file such as 10-${CNI_NETWORK}.conflist there, or correct cni.confDir; docs/network.md has one to begin with`,
    },
  );
}

/** @throws FireteactError `CNI_CONF_INVALID` */
export function parseConfList(value: unknown, file: string): ConfList {
  const parsed = List.safeParse(value);
  if (!parsed.success)
    throw invalid(
      file,
      z
        .prettifyError(parsed.error)
        .replaceAll(/\s*\n\s*/g, " ")
        .slice(0, 400),
    );
  const { cniVersion, cniVersions, ...rest } = parsed.data;
  const known = VERSIONS.filter((version) => version === cniVersion || cniVersions.includes(version));
  const best = known.at(-1);
  if (best === undefined) {
    throw invalid(
      file,
      `its cniVersion is ${JSON.stringify(cniVersion.slice(0, 20))}; known are ${VERSIONS.join(", ")}`,
    );
  }
  return { ...rest, cniVersion: best };
}

async function readJson(file: string): Promise<unknown> {
  const { size } = await stat(file);
  if (size > MOST_BYTES) throw new Error(`it has ${size} bytes; at most ${MOST_BYTES} are read`);
  return JSON.parse(await readFile(file, "utf8")) as unknown;
}

function nameOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "name" in value ? value.name : undefined;
}

const invalid = (file: string, reason: string): FireteactError =>
  new FireteactError("CNI_CONF_INVALID", `the CNI configuration list ${file} cannot be used: ${reason}`, {
    hint: "correct the file; the CNI specification says what belongs into it",
  });
