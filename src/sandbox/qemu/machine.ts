import { existsSync } from "node:fs";
import { FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import type { Logger } from "../../base/log.ts";
import { openDevices } from "../microvm/devices.ts";
import type { Accelerator } from "./command-line.ts";
import { probeKvm, type Verdict } from "./probe.ts";
import { hostTscKhz } from "./tsc.ts";

/** What this host can do for guests that boot one kernel. */
export interface HostMachine {
  binary: string;
  version: string;
  accelerator: Accelerator;
  /** Why this accelerator. */
  detail: string;
  /** Words the kernel needs on its line with this accelerator. */
  kernelWords: string[];
  /** Supplementary groups that the monitor needs for its devices. */
  groups: number[];
}

interface Wanted {
  /** Absent means searched in PATH. */
  binaryPath?: string;
  accelerator: "auto" | Accelerator;
  kernel: string;
  /** Where verdicts on KVM are kept. */
  verdicts: string;
}

/**
 * Refuses a host on which no guest can run, whatever is installed.
 *
 * @throws FireteactError `QEMU_ARCHITECTURE`, `QEMU_NEEDS_ROOT`
 */
export function requireHost({ arch, uid } = { arch: process.arch as string, uid: process.getuid?.() }): void {
  if (arch !== "x64") {
    throw new FireteactError("QEMU_ARCHITECTURE", `The qemu driver cannot make guests on ${arch} yet`, {
      hint: "Run it on an x86-64 host",
    });
  }
  if (uid !== 0) {
    throw new FireteactError("QEMU_NEEDS_ROOT", "The qemu driver needs root: it makes networks, and users for guests", {
      hint: "Start fireteact as root; each virtual machine monitor runs as a user of its own, without rights",
    });
  }
}

/**
 * Finds out how guests can run here.
 *
 * @throws FireteactError that says what is missing and how to get it
 */
export async function findMachine(wanted: Wanted, log: Logger, signal: AbortSignal): Promise<HostMachine> {
  requireHost();
  const { binaryPath: binary = QEMU } = wanted;
  const version = await qemuVersion(binary, signal);
  const { accelerator, detail } = await choose({ ...wanted, binary, version }, signal);
  const khz = accelerator === "tcg" ? await hostTscKhz() : undefined;
  if (accelerator === "tcg" && khz === undefined) {
    log.warn("the host's time stamp counter rate is unknown: some emulated guests may hang while they measure it");
  }
  const devices = accelerator === "kvm" ? ["/dev/net/tun", "/dev/kvm"] : ["/dev/net/tun"];
  const kernelWords = khz === undefined ? [] : [`tsc_early_khz=${khz}`];
  return { binary, version, accelerator, detail, kernelWords, groups: await openDevices(devices, log) };
}

const QEMU = "qemu-system-x86_64";
const OLDEST = [7, 2] as const;

/** @throws FireteactError `QEMU_MISSING`, `QEMU_TOO_OLD` */
export async function qemuVersion(binary: string = QEMU, signal?: AbortSignal): Promise<string> {
  const { stdout } = await exec(binary, ["--version"], { timeout: 10_000, ...(signal && { signal }) }).catch(
    (error: unknown) => {
      throw new FireteactError("QEMU_MISSING", `${binary} cannot be run`, {
        cause: error,
        hint: "Install QEMU (Debian: apt-get install qemu-system-x86), or set qemu.binaryPath",
      });
    },
  );
  const [, version = "", major, minor] = /version ((\d+)\.(\d+)[.\d]*)/.exec(stdout) ?? [];
  const old = Number(major) < OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) < OLDEST[1]);
  if (version === "" || old) {
    throw new FireteactError("QEMU_TOO_OLD", `${binary} is version ${version || "unknown"}`, {
      hint: `At least version ${OLDEST.join(".")} is needed`,
    });
  }
  return version;
}

type Choice = Pick<HostMachine, "accelerator" | "detail">;

async function choose(wanted: Wanted & { binary: string; version: string }, signal: AbortSignal): Promise<Choice> {
  if (wanted.accelerator === "tcg") return { accelerator: "tcg", detail: "emulation, as configured" };
  const verdict = await kvmVerdict(wanted, signal);
  if (verdict.works) return { accelerator: "kvm", detail: `KVM: ${verdict.detail}` };
  if (wanted.accelerator === "kvm") {
    throw new FireteactError("KVM_UNUSABLE", `KVM is configured and cannot be used: ${verdict.detail}`, {
      hint: "Enable virtualisation for this host, or set qemu.accelerator to auto or tcg",
    });
  }
  return { accelerator: "tcg", detail: `emulation, since KVM cannot be used: ${verdict.detail}` };
}

async function kvmVerdict(wanted: Wanted & { binary: string; version: string }, signal: AbortSignal): Promise<Verdict> {
  if (!existsSync("/dev/kvm")) return { works: false, detail: "there is no /dev/kvm" };
  return await probeKvm({ ...wanted, directory: wanted.verdicts, signal });
}
