import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { FireteactError, ignore } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { withLock } from "../lock.ts";
import { runTool } from "../tool.ts";
import { extractVmlinux } from "./vmlinux.ts";

/** A guest kernel on this host. */
export interface GuestKernel {
  /** As `uname -r` says it in the guest. */
  release: string;
  /** Version of the Debian package it is from. */
  packageVersion: string;
  /** Uncompressed ELF. */
  vmlinux: string;
  sha256: string;
  /** `lib/modules/<release>` of the package. */
  modules: string;
}

export interface KernelOptions {
  places: Places;
  signal: AbortSignal;
  progress: (line: string) => void;
  /** Asks Debian for the current kernel even when there is one here. */
  refresh?: boolean;
}

const META_PACKAGE = "linux-image-cloud-amd64";
const KernelRecord = z.object({
  release: z.string(),
  packageVersion: z.string(),
  sha256: z.string(),
  fetchedAt: z.number(),
});

/**
 * Debian's kernel for virtual machines, fetched once and kept under `<state>/kernels/<package version>/`. Its origin is
 * checked by apt (signed lists), its unpacked form by the digest in the record.
 */
export async function guestKernel(options: KernelOptions): Promise<GuestKernel> {
  if (process.arch !== "x64") {
    throw new FireteactError(
      "KERNEL_FORMAT",
      `Guest kernels are made for x86-64 only, and this host is ${process.arch}`,
    );
  }
  const kernels = join(options.places.state, "kernels");
  const onWait = (pid: string): void => options.progress(`waiting for the kernel that process ${pid} is fetching`);
  return withLock(join(kernels, "lock"), { signal: options.signal, onWait }, async () => {
    const here = options.refresh === true ? undefined : await newest(kernels);
    return here ?? (await fetchKernel(kernels, options));
  });
}

async function newest(kernels: string): Promise<GuestKernel | undefined> {
  const found: { kernel: GuestKernel; fetchedAt: number }[] = [];
  for (const name of await readdir(kernels)) {
    const directory = join(kernels, name);
    const text = await readFile(join(directory, "kernel.json"), "utf8").catch(ignore("ENOENT", "ENOTDIR"));
    if (text === undefined) continue;
    const { fetchedAt, ...record } = KernelRecord.parse(JSON.parse(text));
    const kernel = { ...record, vmlinux: join(directory, "vmlinux"), modules: join(directory, "modules") };
    found.push({ kernel, fetchedAt });
  }
  const kernel = found.toSorted((a, b) => b.fetchedAt - a.fetchedAt)[0]?.kernel;
  if (kernel === undefined) return undefined;
  // A copy cut short by a full disk or a crash would fail in the guest, without a word.
  const intact = sha256(await readFile(kernel.vmlinux)) === kernel.sha256;
  if (!intact) await rm(join(kernel.vmlinux, ".."), { recursive: true, force: true });
  return intact ? kernel : newest(kernels);
}

async function fetchKernel(kernels: string, options: KernelOptions): Promise<GuestKernel> {
  const { signal, progress } = options;
  const work = await mkdtemp(join(kernels, "new-"));
  try {
    progress("fetching Debian's cloud kernel (27 MB)");
    const file = await download(work, signal);
    const packageVersion = (await runTool("dpkg-deb", ["--field", file, "Version"], { signal })).trim();
    const tree = join(work, "tree");
    await runTool("dpkg-deb", ["--extract", file, tree], { signal });
    const release = (await readdir(join(tree, "lib/modules")))[0] ?? "";
    const vmlinux = extractVmlinux(await readFile(join(tree, "boot", `vmlinuz-${release}`)));
    const record = { release, packageVersion, sha256: sha256(vmlinux), fetchedAt: Date.now() };

    const done = join(work, "done");
    await mkdir(done);
    await writeFile(join(done, "vmlinux"), vmlinux);
    await rename(join(tree, "lib/modules", release), join(done, "modules"));
    await writeFile(join(done, "kernel.json"), `${JSON.stringify(record, null, 2)}\n`);

    const directory = join(kernels, `${release}_${packageVersion}`);
    await rm(directory, { recursive: true, force: true });
    await rename(done, directory);
    const { fetchedAt: _, ...kernel } = record;
    return { ...kernel, vmlinux: join(directory, "vmlinux"), modules: join(directory, "modules") };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Downloads the package that the meta package stands for; renews apt's lists once where they are missing or old. */
async function download(directory: string, signal: AbortSignal): Promise<string> {
  const attempt = async (): Promise<string> => {
    const listing = await runTool("apt-cache", ["depends", META_PACKAGE], { signal });
    const name = /Depends: (linux-image-\S+)/.exec(listing)?.[1];
    if (name === undefined) throw new FireteactError("TOOL_FAILED", `apt knows no package ${META_PACKAGE}`);
    // Everything else apt does as its own user, who cannot write here.
    await runTool("apt-get", ["-q", "-o", "APT::Sandbox::User=root", "download", name], { signal, cwd: directory });
    const file = (await readdir(directory)).find((entry) => entry.endsWith(".deb"));
    if (file === undefined) throw new FireteactError("TOOL_FAILED", `apt downloaded nothing for ${name}`);
    return join(directory, file);
  };
  try {
    return await attempt();
  } catch {
    signal.throwIfAborted();
    try {
      await runTool("apt-get", ["-q", "update"], { signal });
      return await attempt();
    } catch (error) {
      throw new FireteactError("KERNEL_FETCH", "Debian's cloud kernel could not be fetched", {
        hint: `Check with: apt-get update && apt-get download ${META_PACKAGE}. A host that is not Debian needs Debian's archive in its apt sources`,
        cause: error,
      });
    }
  }
}

const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
