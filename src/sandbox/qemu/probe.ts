import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import * as z from "zod";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { bootId } from "../../base/clock.ts";
import { describe, FireteactError, ignore } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { type Accelerator, machineOptions } from "./command-line.ts";
import { PROBE_DEVICE, PROBE_EXIT, probeInitrd } from "./probe-guest.ts";

/** Whether a real guest kernel gets as far as its first program, and what was seen. */
export interface Verdict {
  works: boolean;
  detail: string;
}

/** A host with working virtualisation needs a tenth of it. */
const KVM_DEADLINE = 5_000;

/**
 * Finds out whether guests run with KVM here. Opening the device or creating a machine proves nothing: both succeed where
 * no kernel runs. So the guest's kernel is booted once, to a first program that answers. The verdict is kept until
 * kernel, QEMU, processor or boot of the host are others.
 *
 * @param options.directory Where verdicts are kept, one for each kernel.
 */
export async function probeKvm(options: {
  binary: string;
  version: string;
  kernel: string;
  directory: string;
  signal: AbortSignal;
}) {
  const hash = await hashOf(options.kernel);
  const key = [hash, options.version, bootId(), await processorModel()].join(" ");
  const file = join(options.directory, `qemu-kvm-${hash.slice(0, 12)}.json`);
  const known = await readVerdict(file, key);
  if (known !== undefined) return known;
  const verdict = await bootProbe({ ...options, accelerator: "kvm", deadline: KVM_DEADLINE });
  await mkdir(options.directory, { recursive: true });
  await writeFileAtomic(file, `${JSON.stringify({ key, ...verdict })}\n`);
  return verdict;
}

interface BootProbe {
  binary: string;
  kernel: string;
  accelerator: Accelerator;
  /** Milliseconds. */
  deadline: number;
  signal: AbortSignal;
  /** Further words of the kernel line. */
  words?: readonly string[];
}

/** Boots the kernel to a first program that ends the monitor with a code of its own. */
export async function bootProbe({
  binary,
  kernel,
  accelerator,
  deadline,
  signal,
  words = [],
}: BootProbe): Promise<Verdict> {
  const directory = await mkdtemp(join(tmpdir(), "fireteact-probe-"));
  const started = performance.now();
  try {
    const initrd = join(directory, "initrd");
    await writeFile(initrd, probeInitrd());
    const args = [
      machineOptions(accelerator),
      ["-smp", "1", "-m", "256M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
      ["-kernel", kernel, "-initrd", initrd, "-append", ["quiet", "panic=0", ...words].join(" ")],
      ["-device", PROBE_DEVICE],
    ].flat();
    await exec(binary, args, { timeout: deadline, accept: [PROBE_EXIT], signal });
    return { works: true, detail: `the guest kernel ran within ${Math.round(performance.now() - started)} ms` };
  } catch (error) {
    signal.throwIfAborted();
    const slow = error instanceof FireteactError && error.code === "PROGRAM_TIMEOUT";
    const why = slow ? `it did not reach its first program within ${deadline / 1000} s` : describe(error);
    return { works: false, detail: `the guest kernel does not run: ${why}` };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const Kept = z.object({ key: z.string(), works: z.boolean(), detail: z.string() });

async function readVerdict(file: string, key: string): Promise<Verdict | undefined> {
  const text = await readFile(file, "utf8").catch(ignore("ENOENT"));
  if (text === undefined) return undefined;
  try {
    const kept = Kept.safeParse(JSON.parse(text));
    return kept.success && kept.data.key === key ? { works: kept.data.works, detail: kept.data.detail } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

async function processorModel(): Promise<string> {
  const text = await readFile("/proc/cpuinfo", "utf8");
  return /^model name\s*: (.*)$/m.exec(text)?.[1] ?? "unknown";
}
