import { accessSync, constants, existsSync } from "node:fs";
import { join } from "node:path";
import { describe } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import type { FirecrackerSettings, Settings } from "../../core/settings.ts";
import { createImages } from "../../image/store/images.ts";
import { findBinary } from "../../sandbox/firecracker/host.ts";
import { checkJails } from "../../sandbox/firecracker/jail-check.ts";
import { checkKernel } from "../../sandbox/firecracker/kernel.ts";
import { bad, type Finding, failed, good } from "./finding.ts";

const TIMEOUT = 30_000;
const KVM = "/dev/kvm";

/** Everything that Firecracker needs of the host, for the pools that use it. */
export async function checkFirecracker(places: Places, settings: Settings | undefined): Promise<Finding[]> {
  const findings: Finding[] = [];
  const jails = {
    base: settings?.host.jailDir ?? join(places.state, "jails"),
    sources: ["images", "disks"].map((name) => join(places.state, name)),
  };
  for (const { firecracker, image } of settings?.pools ?? []) {
    if (firecracker === undefined) continue;
    findings.push(
      ...(await checkProgram(firecracker, jails)),
      checkKvm(),
      ...(await checkBoot(places, firecracker, image)),
    );
  }
  return [...new Map(findings.map((finding) => [JSON.stringify(finding), finding])).values()];
}

async function checkProgram(
  { binaryPath, jailer, jailerPath }: FirecrackerSettings,
  jails: { base: string; sources: string[] },
): Promise<Finding[]> {
  const signal = AbortSignal.timeout(TIMEOUT);
  try {
    const { path, text } = await findBinary(binaryPath, signal);
    const found = good("firecracker", `version ${text} (${path})`);
    if (!jailer) return [found];
    const programs = { binary: path, ...(jailerPath === undefined ? {} : { jailer: jailerPath }) };
    const { ok, detail, hint } = await checkJails({ ...jails, programs: [programs] }, signal);
    const fix = hint ?? "install the jailer of Firecracker's release";
    return [found, ok ? good("jailer", detail) : bad("jailer", detail, fix)];
  } catch (error) {
    return [failed("firecracker", error, "install Firecracker, or use driver: qemu")];
  }
}

function checkKvm(): Finding {
  const hint =
    "switch on virtualisation (nested, in a virtual machine), load kvm_intel or kvm_amd, and run as root; driver: qemu works without";
  if (!existsSync(KVM)) return bad("KVM", `there is no ${KVM}, which Firecracker cannot do without`, hint);
  try {
    accessSync(KVM, constants.R_OK | constants.W_OK);
    return good("KVM", `${KVM} can be opened; whether guests run with it shows with the first`);
  } catch (error) {
    return bad("KVM", `${KVM} cannot be opened: ${describe(error)}`, hint);
  }
}

/** An image that is not there yet brings a kernel that fits. */
async function checkBoot(places: Places, pool: FirecrackerSettings, reference = "local:default"): Promise<Finding[]> {
  const image = await createImages({ places })
    .resolve(reference, AbortSignal.timeout(TIMEOUT), () => undefined)
    .catch(() => undefined);
  const kernel = pool.kernelPath ?? image?.kernel;
  const initrd = pool.initrdPath ?? image?.initrd;
  if (kernel === undefined || initrd === undefined) return [];
  try {
    await checkKernel(kernel, initrd);
    return [good("kernel", kernel)];
  } catch (error) {
    return [failed("kernel", error, "correct firecracker.kernelPath, or leave it out to take the image's")];
  }
}
