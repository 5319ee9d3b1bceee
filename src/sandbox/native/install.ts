import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { replaceFileSync } from "../../base/atomic-file.ts";
import { ignore, systemCode } from "../../base/errors.ts";
import { environmentFile, sliceName, templateName } from "./names.ts";
import {
  type NativePool,
  type NativePrograms,
  polkitRule,
  poolSlice,
  sharedDirectories,
  templateUnit,
} from "./unit.ts";

/** A file that the administrator installs for native pools. */
export interface UnitFile {
  path: string;
  content: string;
  /** Systemd reads it from other directories too, where packages and NixOS put it. */
  isUnit: boolean;
}

/** Says that a file may be replaced and removed by `install-units`. */
const HEADER =
  "# Written by 'fireteact native install-units'; changes are lost. Use drop-ins (systemctl edit) instead.\n";

const UNIT_DIRECTORY = "/etc/systemd/system";
/** Where the service manager looks, in its order. */
const UNIT_DIRECTORIES = [
  UNIT_DIRECTORY,
  "/run/systemd/system",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];
const POLKIT_RULE = "/etc/polkit-1/rules.d/50-fireteact-native.rules";

interface Installation {
  pools: readonly NativePool[];
  programs: NativePrograms;
  /** `KEY=VALUE` lines for jobs, by pool. */
  environment: (pool: NativePool) => string;
  /** Whom `serve` runs as. */
  user: string;
}

/** The template and slice of every pool, and what lets an orchestrator that is not root use them. */
export function unitFiles({ pools, programs, environment, user }: Installation): UnitFile[] {
  const own = pools.flatMap((pool): UnitFile[] => [
    unit(templateName(pool.name), templateUnit(pool, programs)),
    unit(sliceName(pool.name), poolSlice(pool)),
    plain(environmentFile(pool.name), environment(pool)),
  ]);
  const names = pools.map(({ name }) => name);
  return [
    ...own,
    plain("/etc/tmpfiles.d/fireteact-native.conf", sharedDirectories(user)),
    // Its comments begin otherwise.
    ...(user === "root" ? [] : [{ path: POLKIT_RULE, content: polkitRule(user, names), isUnit: false }]),
  ];
}

const unit = (name: string, text: string): UnitFile => ({
  path: join(UNIT_DIRECTORY, name),
  content: HEADER + text,
  isUnit: true,
});

const plain = (path: string, text: string): UnitFile => ({ path, content: HEADER + text, isUnit: false });

/** How a file on the host differs from what it should be. */
export interface Difference {
  path: string;
  state: "missing" | "differs" | "stale";
  /** Lines that are there and should not be with `-`, lines that should be and are not with `+`. */
  lines: string[];
}

/** Looks at what is installed below `root`. A file that this user may not read counts as right. */
export function compareUnits(files: readonly UnitFile[], root = "/"): Difference[] {
  const differences = files.flatMap((file): Difference[] => {
    const places = file.isUnit
      ? UNIT_DIRECTORIES.map((directory) => file.path.replace(UNIT_DIRECTORY, directory))
      : [file.path];
    const found = places.map((path) => read(join(root, path))).find((content) => content !== undefined);
    if (found === undefined) return [{ path: file.path, state: "missing", lines: [] }];
    if (found === UNREADABLE || found === file.content) return [];
    return [{ path: file.path, state: "differs", lines: changedLines(found, file.content) }];
  });
  const stale = staleFiles(files, root).map((path): Difference => ({ path, state: "stale", lines: [] }));
  return [...differences, ...stale];
}

/** Makes what is installed below `root` the same as the files; returns what it changed. */
export function installUnits(files: readonly UnitFile[], root = "/"): string[] {
  const changed: string[] = [];
  for (const { path, content } of files) {
    const place = join(root, path);
    if (read(place) === content) continue;
    mkdirSync(dirname(place), { recursive: true, mode: path.startsWith("/etc/fireteact-native/") ? 0o700 : 0o755 });
    replaceFileSync(place, content, { mode: 0o644 });
    changed.push(path);
  }
  for (const path of staleFiles(files, root)) {
    rmSync(join(root, path));
    changed.push(path);
  }
  return changed;
}

/** Of pools that the configuration names no more. Only what was written here. */
function staleFiles(files: readonly UnitFile[], root: string): string[] {
  const wanted = new Set(files.map(({ path }) => path));
  return namesIn(join(root, UNIT_DIRECTORY))
    .filter((name) => /^fireteact-native-.*(@\.service|\.slice)$/.test(name))
    .map((name) => join(UNIT_DIRECTORY, name))
    .filter((path) => !wanted.has(path) && read(join(root, path))?.startsWith(HEADER) === true);
}

function changedLines(before: string, after: string): string[] {
  const [old, fresh] = [before.split("\n"), after.split("\n")];
  return [
    ...old.filter((line) => !fresh.includes(line)).map((line) => `- ${line}`),
    ...fresh.filter((line) => !old.includes(line)).map((line) => `+ ${line}`),
  ];
}

/** No file begins so. */
const UNREADABLE = "\0unreadable";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    ignore("ENOENT", "ENOTDIR", "EACCES")(error);
    return systemCode(error) === "EACCES" ? UNREADABLE : undefined;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
}
