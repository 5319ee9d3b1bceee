import { chmod, chown, copyFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FireteactError, ignore, systemCode } from "../../base/errors.ts";
import { runTool } from "../tool.ts";
import { IMAGE_EPOCH } from "./base.ts";
import { fileSha256, sha256 } from "./manifest.ts";
import { GUEST_CA_BUNDLE, guestEnvironment, readCertificates } from "./settings.ts";

/** What lies over Debian's packages in an image; changing any of it rebuilds in seconds. All are paths on the host. */
export interface TopSources {
  /** Node's binary, which runs the agent and JavaScript actions. */
  node: string;
  agent: string;
  shellEngine?: string;
  engines?: Partial<Record<"gitea-runner" | "forgejo-runner", string>>;
  /** Extra certificate authorities, PEM. */
  caFiles?: readonly string[];
  /** Variables for agent, engines and jobs. */
  env?: Readonly<Record<string, string>>;
  /** The folder with the image's own files (`images/` of the program), see `rootfs` in it. */
  files: string;
}

/** A file of the image: from the host, or made here. */
interface Placed {
  target: string;
  mode: number;
  from: { file: string } | { text: string };
}

/** The user that engines run as, and the group of Docker's socket; numbers as in the original's image. */
const RUNNER = { name: "runner", id: 1001 };
const DOCKER = { name: "docker", id: 121 };

const CA_DIRECTORY = "usr/local/share/ca-certificates";

/** Lists what will be placed; reading everything here makes a missing input fail before anything slow starts. */
export async function topFiles(sources: TopSources): Promise<Placed[]> {
  const certificates = await readCertificates(sources.caFiles ?? []);
  const library = (name: string, file: string): Placed => ({
    target: `usr/lib/fireteact/${name}`,
    mode: 0o644,
    from: { file },
  });
  return [
    { target: "usr/local/bin/node", mode: 0o755, from: { file: sources.node } },
    library("agent.cjs", sources.agent),
    ...(sources.shellEngine === undefined ? [] : [library("shell-engine.cjs", sources.shellEngine)]),
    ...Object.entries(sources.engines ?? {}).map(([name, file]) => ({
      target: `usr/local/bin/${name}`,
      mode: 0o755,
      from: { file },
    })),
    ...(await staticFiles(join(sources.files, "rootfs"))),
    {
      target: "etc/fireteact/environment",
      mode: 0o644,
      from: { text: guestEnvironment(sources.env ?? {}, certificates.length > 0) },
    },
    { target: "etc/hostname", mode: 0o644, from: { text: "fireteact\n" } },
    // The build's own resolver; the guest writes its own at boot.
    { target: "etc/resolv.conf", mode: 0o644, from: { text: "" } },
    ...(certificates.length === 0
      ? []
      : [{ target: GUEST_CA_BUNDLE.slice(1), mode: 0o644, from: { text: certificates.join("") } }]),
    ...certificates.map((text) => ({
      target: `${CA_DIRECTORY}/fireteact-${sha256(text).slice(0, 12)}.crt`,
      mode: 0o644,
      from: { text },
    })),
  ];
}

async function staticFiles(root: string): Promise<Placed[]> {
  const paths = (await readdir(root, { recursive: true }).catch(isMissing(root, WHOLE_PROGRAM))).toSorted();
  const placed: Placed[] = [];
  for (const target of paths) {
    const file = join(root, target);
    if (!(await stat(file)).isFile()) continue;
    placed.push({ target, mode: /^usr\/s?bin\//.test(target) ? 0o755 : 0o644, from: { file } });
  }
  return placed;
}

/** Digest of the layer's inputs. */
export async function topKey(files: readonly Placed[]): Promise<string> {
  const parts: string[] = [];
  for (const { target, mode, from } of files) {
    const digest = "file" in from ? await hashInput(from.file) : sha256(from.text);
    parts.push(`${target} ${mode} ${digest}`);
  }
  return sha256(parts.join("\n"));
}

async function hashInput(file: string): Promise<string> {
  return fileSha256(file).catch(isMissing(file, "Build the program first: npm run build"));
}

/** Hint where a file is missing that came with the program. */
export const WHOLE_PROGRAM = "Install the whole program: its folder images/ belongs beside its folder dist/";

/** Names what is missing, for people; every other error is thrown again. */
export function isMissing(path: string, hint: string): (error: unknown) => never {
  return (error) => {
    if (systemCode(error) !== "ENOENT") throw error;
    const message = `${path} is missing, which goes into the guest image`;
    throw new FireteactError("IMAGE_INPUT", message, { hint, cause: error });
  };
}

/** Puts the layer into an unpacked base. */
export async function applyTop(tree: string, files: readonly Placed[], signal: AbortSignal): Promise<void> {
  for (const file of files) await place(tree, file);
  await strip(join(tree, "usr/local/bin/node"), signal);
  await addUsers(tree);
  await addDirectories(tree);
  if (files.some(({ target }) => target.startsWith(CA_DIRECTORY))) {
    await runTool("chroot", [tree, "/usr/sbin/update-ca-certificates"], {
      signal,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    });
  }
}

async function place(tree: string, { target, mode, from }: Placed): Promise<void> {
  const path = join(tree, target);
  await mkdir(dirname(path), { recursive: true });
  // A package may have put a symbolic link there, which would lead out of the tree.
  await rm(path, { force: true });
  if ("file" in from) await copyFile(from.file, path);
  else await writeFile(path, from.text);
  await chmod(path, mode);
  await chown(path, 0, 0);
  await utimes(path, IMAGE_EPOCH, IMAGE_EPOCH);
}

/** Symbols are a seventh of Node's binary and of no use in a guest; a host without binutils keeps them. */
async function strip(path: string, signal: AbortSignal): Promise<void> {
  await runTool("strip", ["--preserve-dates", path], { signal }).catch((error: unknown) => {
    if (!(error instanceof FireteactError) || error.code !== "TOOL_MISSING") throw error;
  });
}

async function addUsers(tree: string): Promise<void> {
  const { name, id } = RUNNER;
  await appendLine(tree, "etc/passwd", `${name}:x:${id}:${id}::/home/${name}:/bin/bash`);
  await appendLine(tree, "etc/shadow", `${name}:!:20000:0:99999:7:::`);
  await appendLine(tree, "etc/group", `${name}:x:${id}:`);
  await appendLine(tree, "etc/group", `${DOCKER.name}:x:${DOCKER.id}:${name}`);
}

/** Appends an entry unless the file has one of that name, from a package. Without the package passwd there is no shadow. */
async function appendLine(tree: string, file: string, line: string): Promise<void> {
  const path = join(tree, file);
  const text = await readFile(path, "utf8").catch(ignore("ENOENT"));
  if (text === undefined) return;
  const name = line.slice(0, line.indexOf(":") + 1);
  if (text.split("\n").some((entry) => entry.startsWith(name))) return;
  await writeFile(path, `${text}${line}\n`);
}

async function addDirectories(tree: string): Promise<void> {
  for (const [path, mode, owner] of [
    ["home/runner", 0o755, RUNNER.id],
    ["opt/act_runner", 0o755, RUNNER.id],
    ["opt/hostedtoolcache", 0o777, RUNNER.id],
  ] as const) {
    const directory = join(tree, path);
    await mkdir(directory, { recursive: true });
    await chmod(directory, mode);
    await chown(directory, owner, owner);
  }
}
