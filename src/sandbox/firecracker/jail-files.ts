import { chmod, chown, constants, copyFile, link, mkdir, readdir, realpath, rm, stat, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { FireteactError, ignore } from "../../base/errors.ts";
import type { JailPlaces } from "./jail-places.ts";
import type { VisibleFile } from "./launch.ts";

/** Files up to this size may be copied where nothing else works: those that are for one guest alone. Bytes. */
const MOST_COPIED = 32 * 2 ** 20;

/**
 * Builds the jail around the sandbox's files and returns where the monitor finds them, relative to its root directory,
 * by their names. Large files are never copied: they are linked, or share their blocks.
 *
 * @param vm The sandbox's directory for the monitor's own files; moves into the jail and becomes a link to there.
 * @throws FireteactError `JAIL_ELSEWHERE`, `NOT_READABLE`, `BAD_MACHINE`
 */
export async function furnish(
  jail: JailPlaces,
  vm: string,
  files: readonly VisibleFile[],
  uid: number,
): Promise<Map<string, string>> {
  await mkdir(jail.root, { recursive: true, mode: 0o700 });
  await mkdir(jail.files, { mode: 0o711 });
  // The process's umask may have taken bits away.
  await chmod(jail.files, 0o711);
  const seen = new Map<string, string>();
  for (const file of files) {
    const inside = relative(vm, file.path);
    if (inside.startsWith("../")) await show(file, uid, join(jail.files, checked(file.name)));
    seen.set(file.name, inside.startsWith("../") ? `files/${file.name}` : `vm/${inside}`);
  }
  await move(vm, jail.vm, uid);
  return seen;
}

/** Nothing in the jail can be replaced any more by what a guest that broke out would like us to open. */
export async function seal({ root, vm }: JailPlaces): Promise<void> {
  for (const directory of [root, vm, ...["dev", "dev/net", "run"].map((name) => join(root, name))]) {
    await chown(directory, 0, 0);
    await chmod(directory, 0o711);
  }
}

async function show({ path, access }: VisibleFile, uid: number, target: string): Promise<void> {
  // A link to a symbolic link would lead out of the jail, where there is nothing.
  const source = await realpath(path);
  const { size, mode, uid: owner } = await stat(source);
  if (access === "read" && owner !== uid && (mode & 0o004) === 0) {
    throw new FireteactError("NOT_READABLE", `Virtual machine monitors cannot get at ${path}`, {
      hint: "They run as users without rights: make the file readable (chmod o+r)",
    });
  }
  if (await worked(link(source, target))) return;
  const shared = await worked(copyFile(source, target, constants.COPYFILE_FICLONE_FORCE));
  if (!shared) {
    // Node leaves the empty target of a failed clone.
    await rm(target, { force: true });
    if (access === "write" || size > MOST_COPIED) throw elsewhere(path, target);
    await copyFile(source, target, constants.COPYFILE_EXCL);
  }
  await chown(target, uid, uid);
  await chmod(target, access === "write" ? 0o600 : 0o400);
}

const elsewhere = (path: string, target: string): FireteactError =>
  new FireteactError(
    "JAIL_ELSEWHERE",
    `${path} cannot be shown to a jail without a copy: ${target} is on another file system`,
    {
      hint: "Set host.jailDir to a directory on the file system of the images, disks and kernels, or bring those together",
    },
  );

/** False where the file system cannot do this between these two places. */
async function worked(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    ignore("EXDEV", "EMLINK", "EPERM", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "ENOTTY", "ENOSYS")(error);
    return false;
  }
}

async function move(vm: string, target: string, uid: number): Promise<void> {
  await mkdir(target, { mode: 0o700 });
  for (const name of (await readdir(vm).catch(ignore("ENOENT"))) ?? []) {
    await copyFile(join(vm, name), join(target, name), constants.COPYFILE_FICLONE);
    await chown(join(target, name), uid, uid);
  }
  await chown(target, uid, uid);
  await rm(vm, { recursive: true, force: true });
  await symlink(target, vm);
}

function checked(name: string): string {
  if (/^[a-z]{1,32}$/i.test(name)) return name;
  throw new FireteactError("BAD_MACHINE", `No file of a monitor can be called ${JSON.stringify(name)}`);
}

/** Whether files of one directory can be shown to a jail in another, found out with an empty one. */
export async function canShow(from: string, base: string): Promise<boolean> {
  const source = join(from, `.jail-trial-${process.pid}`);
  const target = join(base, `.jail-trial-${process.pid}`);
  try {
    await copyFile("/dev/null", source);
    await rm(target, { force: true });
    return (
      (await worked(link(source, target))) || (await worked(copyFile(source, target, constants.COPYFILE_FICLONE_FORCE)))
    );
  } finally {
    await rm(source, { force: true });
    await rm(target, { force: true });
  }
}

/** Why a file system cannot hold jails: it must let programs and device nodes in them work. */
export function unfitMount(base: string, mounts: string): string | undefined {
  let found = { at: "", options: [] as string[] };
  for (const line of mounts.split("\n")) {
    const [, , , , at = "", options = ""] = line.split(" ");
    const holds = at !== "" && (at === "/" || base === at || base.startsWith(`${at}/`));
    if (holds && at.length >= found.at.length) found = { at, options: options.split(",") };
  }
  const bad = ["nodev", "noexec"].filter((option) => found.options.includes(option));
  return bad.length === 0 ? undefined : `${found.at} is mounted ${bad.join(" and ")}`;
}
