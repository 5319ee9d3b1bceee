import { readFileSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";

/** What the jailer was told, after every check that it makes before it touches anything. */
export interface JailerArguments {
  id: string;
  binary: string;
  /** The directory that becomes the root. */
  root: string;
  uid: number;
  gid: number;
  netns?: string;
  groups: Group[];
  limits: { fsize?: bigint; "no-file": bigint };
  rest: string[];
}

/** A control group, by its directory, and what is written into it. */
export interface Group {
  directory: string;
  /** That of the hierarchy's own root. */
  mount: string;
  version: 1 | 2;
  values: [file: string, value: string][];
}

/** What the jailer says before it ends with status 1. */
export class Refusal extends Error {}

type Given = Record<string, string[]>;

const VALUES = ["id", "exec-file", "uid", "gid", "chroot-base-dir", "netns", "cgroup-version", "parent-cgroup"];
const MULTIPLE = ["cgroup", "resource-limit"];
const FLAGS = ["daemonize", "new-pid-ns"];
const DEFAULT_FILES = 2_048n;

/** @throws Refusal in the jailer's words */
export function readArguments(args: readonly string[]): JailerArguments {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const given = parse(args.slice(0, end));
  const one = (name: string): string => given[name]?.[0] ?? "";
  for (const name of FLAGS) if (given[name] !== undefined) throw new Refusal(`This stand-in does not model --${name}`);
  const id = one("id");
  if (id.length < 1 || id.length > 64) throw new Refusal(`Invalid instance ID: Invalid len (${id.length})`);
  const bad = /[^\p{L}\p{N}-]/u.exec(id);
  if (bad !== null) throw new Refusal(`Invalid instance ID: Invalid char (${bad[0]}) at position ${bad.index}`);
  const binary = canonical(one("exec-file"));
  if (!statSync(binary).isFile()) throw new Refusal(`${binary} is not a file`);
  const base = canonical(given["chroot-base-dir"]?.[0] ?? "/srv/jailer");
  if (!statSync(base).isDirectory()) throw new Refusal(`${base} is not a directory`);
  const name = basename(binary);
  return {
    id,
    binary,
    root: join(base, name, id, "root"),
    uid: user("uid", one("uid")),
    gid: user("gid", one("gid")),
    ...(given["netns"] === undefined ? {} : { netns: one("netns") }),
    groups: groupsOf(given, id, given["parent-cgroup"]?.[0] ?? name),
    limits: limitsOf(given["resource-limit"] ?? []),
    rest: args.slice(end + 1),
  };
}

/** Only `--name value`, each once but those that may come again; a value never begins like a name. */
function parse(args: readonly string[]): Given {
  const given: Given = {};
  const wrong = (text: string) => new Refusal(`Failed to parse arguments: ${text}`);
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    const name = arg.replace(/^--/, "");
    if (!arg.startsWith("--") || ![...VALUES, ...MULTIPLE, ...FLAGS].includes(name)) {
      throw wrong(`Found argument '${name}' which wasn't expected, or isn't valid in this context.`);
    }
    if (given[name] !== undefined && !MULTIPLE.includes(name)) {
      throw wrong(`The argument '${name}' was provided more than once.`);
    }
    if (FLAGS.includes(name)) {
      given[name] = [];
      continue;
    }
    const value = args[++index];
    if (value === undefined || value.startsWith("--")) {
      throw wrong(`The argument '${name}' requires a value, but none was supplied.`);
    }
    given[name] = [...(given[name] ?? []), value];
  }
  for (const name of ["exec-file", "gid", "id", "uid"]) {
    if (given[name] === undefined) throw wrong(`Argument '${name}' required, but not found.`);
  }
  return given;
}

function canonical(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new Refusal(`Failed to canonicalize path ${path}: ${(error as Error).message}`);
  }
}

function user(name: string, text: string): number {
  if (/^\+?\d+$/.test(text) && Number(text) <= 0xffff_ffff) return Number(text);
  throw new Refusal(`Invalid ${name}: ${text}`);
}

/** Whether a path of a control group could lead out of its hierarchy. */
const leadsOut = (path: string): boolean =>
  path.startsWith("/") || path === "." || path.startsWith("./") || path.split("/").includes("..");

function groupsOf(given: Given, id: string, parent: string): Group[] {
  if (leadsOut(parent)) {
    throw new Refusal("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'");
  }
  const version = given["cgroup-version"]?.[0] ?? "1";
  if (!/^\+?\d{1,3}$/.test(version) || Number(version) > 255) {
    throw new Refusal(`${version} is an invalid cgroup version specifier`);
  }
  if (given["cgroup"] === undefined) {
    if (Number(version) === 2) throw new Refusal("This stand-in does not model moves into a parent group");
    return [];
  }
  const groups = new Map<string, Group>();
  for (const setting of given["cgroup"]) {
    const [file = "", value = "", ...more] = setting.split("=");
    if (more.length > 0 || value === "") throw new Refusal(`Invalid format for cgroups: ${setting}`);
    if (leadsOut(file) || !file.includes(".")) throw new Refusal(`Cgroup invalid file: ${file}`);
    const mount = mountOf(Number(version), file.split(".")[0] ?? "");
    const directory = join(mount, parent, id);
    const group = groups.get(directory) ?? { directory, mount, version: version === "2" ? 2 : 1, values: [] };
    group.values.push([file, value]);
    groups.set(directory, group);
  }
  return [...groups.values()];
}

function mountOf(version: number, controller: string): string {
  if (version !== 1 && version !== 2) throw new Refusal(`${version} is an invalid cgroup version specifier`);
  const type = version === 2 ? "cgroup2" : "cgroup";
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => fields[2] === type);
  if (mounts.length === 0) throw new Refusal("Hierarchy not found: No hierarchy found for this cgroup version.");
  const has = ([, directory = "", , options = ""]: string[]): boolean =>
    version === 1
      ? options.split(",").includes(controller)
      : readFileSync(join(directory, "cgroup.controllers"), "utf8").trim().split(" ").includes(controller);
  const found = mounts.find(has)?.[1];
  if (found === undefined) throw new Refusal(`Controller ${controller} is unavailable`);
  return found;
}

function limitsOf(given: string[]): JailerArguments["limits"] {
  const limits: JailerArguments["limits"] = { "no-file": DEFAULT_FILES };
  for (const text of given) {
    const [, name, value = ""] = /^([^=]*)=(.*)$/.exec(text) ?? [];
    if (name === undefined) throw new Refusal(`Invalid format for resources limits: ${text}`);
    if (!/^\+?\d{1,20}$/.test(value)) throw new Refusal(`Invalid limit value for resource: ${value}: invalid digit`);
    if (name !== "fsize" && name !== "no-file") throw new Refusal(`Invalid resource argument: ${name}`);
    limits[name] = BigInt(value);
  }
  return limits;
}
