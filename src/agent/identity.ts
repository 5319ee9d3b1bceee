import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter } from "node:path";
import { FireteactError, ignore } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/** Whom the engine runs as. */
export interface Identity {
  user: string;
  uid: number;
  gid: number;
  home: string;
  /** False where the agent is not root: then the engine runs as the agent itself. */
  switches: boolean;
}

interface IdentityOptions {
  owner: string;
  group: string;
  log: Logger;
  /** Root of the file system in which users are looked up; for tests. */
  root?: string;
  uid?: number;
}

/** Looks up `--owner` and `--group`. Throws `NO_SUCH_USER`. */
export function findIdentity(options: IdentityOptions): Identity {
  const uid = options.uid ?? process.getuid?.() ?? 0;
  const users = readTable(`${options.root ?? ""}/etc/passwd`);
  if (uid !== 0) {
    const self = users.find((row) => row[2] === String(uid));
    options.log.debug("the agent is not root, so the engine runs as the same user");
    const home = self?.[5] ?? process.env["HOME"] ?? "/";
    return { user: self?.[0] ?? String(uid), uid, gid: process.getgid?.() ?? uid, home, switches: false };
  }
  const user = users.find((row) => row[0] === options.owner);
  if (user === undefined) {
    throw new FireteactError("NO_SUCH_USER", `the user ${options.owner}, who is to run the engine, does not exist`, {
      hint: "create it in the image, or name another with --owner",
    });
  }
  const group = readTable(`${options.root ?? ""}/etc/group`).find((row) => row[0] === options.group);
  if (group === undefined) options.log.warn({ group: options.group }, "no such group; the owner's own is taken");
  return {
    user: options.owner,
    uid: Number(user[2]),
    gid: Number(group?.[2] ?? user[3]),
    home: user[5] || "/",
    switches: true,
  };
}

/** The command that runs as the identity with all its supplementary groups, which Node's own spawn would drop. */
export function commandAs(
  identity: Identity,
  command: string[],
  log: Logger,
): { command: string[]; ids?: { uid: number; gid: number } } {
  if (!identity.switches) return { command };
  const setpriv = findProgram("setpriv");
  if (setpriv === undefined) {
    log.warn("setpriv (util-linux) is not in the image: the engine runs without the owner's supplementary groups");
    return { command, ids: { uid: identity.uid, gid: identity.gid } };
  }
  const ids = [`--reuid=${identity.uid}`, `--regid=${identity.gid}`, "--init-groups"];
  return { command: [setpriv, ...ids, "--", ...command] };
}

/** Exactly the original's environment, and the lines of the image's environment file. Nothing of the agent's own. */
export function engineEnvironment(identity: Identity, environmentFile: string): Record<string, string> {
  const own = {
    PATH: withLocalBin(process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"),
    HOME: identity.home,
    USER: identity.user,
    DOCKER_HOST: "unix:///var/run/docker.sock",
  };
  return { ...own, ...readEnvironmentFile(environmentFile) };
}

/** `KEY=VALUE` lines; a file that is not there is an empty one. */
function readEnvironmentFile(path: string): Record<string, string> {
  const entries = readOptional(path)
    .split("\n")
    .flatMap((line) => {
      const match = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line.trim());
      return match === null ? [] : [[match[1] ?? "", match[2] ?? ""] as const];
    });
  return Object.fromEntries(entries);
}

/** A program's path by the PATH of the engine, or undefined. An absolute path is only checked. */
export function findProgram(name: string, path = withLocalBin(process.env["PATH"] ?? "")): string | undefined {
  const candidates = name.startsWith("/") ? [name] : path.split(delimiter).map((folder) => `${folder}/${name}`);
  return candidates.find((candidate) => isExecutable(candidate));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    ignore("ENOENT", "EACCES", "ENOTDIR")(error);
    return false;
  }
}

const withLocalBin = (path: string): string => {
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  return (folders.includes("/usr/local/bin") ? folders : ["/usr/local/bin", ...folders]).join(delimiter);
};

const readTable = (path: string): string[][] =>
  readOptional(path)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(":"));

function readOptional(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    ignore("ENOENT")(error);
    return "";
  }
}
