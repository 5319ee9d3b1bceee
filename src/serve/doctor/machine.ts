import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import { HOST_ID_DIGITS, type Places } from "../../base/names.ts";
import type { PoolSettings, Settings } from "../../core/settings.ts";
import type { GuestImage } from "../../image/port.ts";
import { imageDirectory, readRecord, toImage } from "../../image/record.ts";
import { createImages } from "../../image/store/images.ts";
import { readPulled } from "../../image/store/pulled.ts";
import { createEmbeddedNetwork } from "../../network/embedded/network.ts";
import { checkCgroups } from "../../sandbox/microvm/cgroups.ts";
import type { Difference } from "../../sandbox/native/install.ts";
import { qemuVersion } from "../../sandbox/qemu/machine.ts";
import { probeKvm } from "../../sandbox/qemu/probe.ts";
import { canonical } from "../host-images.ts";
import { nativeDifferences } from "../native.ts";
import { DRIVERS } from "../servable.ts";
import { bad, type Finding, failed, good, warning } from "./finding.ts";

const TIMEOUT = 30_000;
const DEFAULT_IMAGE = "local:default";
/** What `image build` calls, and the Debian package of each. */
const BUILD_TOOLS = {
  mmdebstrap: "mmdebstrap",
  "mkfs.ext4": "e2fsprogs",
  "dpkg-deb": "dpkg",
  strip: "binutils",
  tar: "tar",
};

const isRoot = (): boolean => process.getuid?.() === 0;

/** What is right as a configuration, but cannot be run by this version or host, or is dangerous. */
export function checkPools(settings: Settings): Finding[] {
  const { pools, targets } = settings;
  return pools.map((pool) => {
    const subject = `pool ${pool.name}`;
    if (!DRIVERS.includes(pool.driver)) {
      const hint = "write 'driver: qemu' in this pool to run it in QEMU microVMs";
      return bad(subject, `driver ${pool.driver} is not built yet`, hint);
    }
    if (pool.native !== undefined) return checkNative(pool, settings);
    const isLegacy = targets.some(({ key, legacyRegistrationToken }) => key === pool.target && legacyRegistrationToken);
    if (isLegacy && pool.mute === true) {
      const hint =
        "remove legacyRegistrationToken, unless the image's agent registers itself although it has a .runner";
      return warning(subject, "every job can read the scope's registration token and register runners with it", hint);
    }
    const size =
      pool.driver === "qemu" || pool.driver === "firecracker"
        ? `, ${pool.memoryMib} MiB and ${pool.vcpus} CPUs each`
        : "";
    const labels = pool.labels.length === 0 ? "jobs without runs-on" : `labels ${pool.labels.join(", ")}`;
    return good(subject, `driver ${pool.driver}, ${labels}, up to ${pool.maxRunners} runners${size}`);
  });
}

/** Whether its units are what the configuration asks for, on a host that can run them. */
function checkNative({ name, labels, maxRunners }: PoolSettings, settings: Settings): Finding {
  const subject = `pool ${name}`;
  if (!existsSync("/run/systemd/system")) {
    const hint = "run native pools on a host that was started by systemd, or take driver: qemu";
    return bad(subject, "systemd does not run here, and native jobs are its units", hint);
  }
  let wrong: Difference[];
  try {
    wrong = nativeDifferences(settings).filter(({ state }) => state !== "stale");
  } catch (error) {
    return failed(subject, error, "run the program that was built");
  }
  if (wrong.length > 0) {
    const list = wrong.map(({ path, state }) => `${path} ${state === "missing" ? "is missing" : "differs"}`).join(", ");
    return bad(subject, list, "run as root: fireteact native install-units; with --check it shows what differs");
  }
  return good(subject, `driver native, labels ${labels.join(", ")}, up to ${maxRunners} jobs on this host itself`);
}

/** Everything that QEMU microVMs need of the host. */
export async function checkMachine(
  places: Places,
  settings: Settings | undefined,
  progress: (line: string) => void,
): Promise<Finding[]> {
  const pools: (PoolSettings | undefined)[] = settings?.pools.filter(({ qemu }) => qemu !== undefined) ?? [undefined];
  if (pools.length === 0) return [];
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const pool of pools) {
    const wanted = {
      binary: pool?.qemu?.binaryPath ?? "qemu-system-x86_64",
      image: pool?.image ?? DEFAULT_IMAGE,
      kernelPath: pool?.qemu?.kernelPath,
      accelerator: pool?.qemu?.accelerator ?? "auto",
    };
    const key = JSON.stringify(wanted);
    if (!seen.has(key)) findings.push(...(await checkGuests(places, wanted, progress)));
    seen.add(key);
  }
  const distinct = new Map(findings.map((finding) => [JSON.stringify(finding), finding]));
  return [...distinct.values(), checkLimits(), await checkNetwork(places, settings)];
}

interface Guests {
  binary: string;
  image: string;
  kernelPath: string | undefined;
  accelerator: "auto" | "kvm" | "tcg";
}

async function checkGuests(places: Places, wanted: Guests, progress: (line: string) => void): Promise<Finding[]> {
  const findings: Finding[] = [];
  const version = await qemuVersion(wanted.binary, AbortSignal.timeout(TIMEOUT)).catch((error: unknown) => {
    findings.push(failed("qemu", error, "install QEMU (Debian: apt-get install qemu-system-x86)"));
    return undefined;
  });
  if (version !== undefined) findings.push(good("qemu", `version ${version} (${wanted.binary})`));
  const image = await findImage(places, wanted.image);
  findings.push(image.finding);
  const kernel = wanted.kernelPath ?? image.found?.kernel;
  if (wanted.kernelPath !== undefined && !existsSync(wanted.kernelPath)) {
    findings.push(bad("kernel", `${wanted.kernelPath} does not exist`, "correct qemu.kernelPath, or leave it out"));
  } else if (version !== undefined) {
    findings.push(await checkVirtualisation({ ...wanted, version, kernel, places }, progress));
  }
  return findings;
}

async function findImage(places: Places, reference: string): Promise<{ finding: Finding; found?: GuestImage }> {
  const subject = `image ${reference}`;
  try {
    if (canonical(reference) !== undefined) return await findPulled(places, reference);
    const found = await createImages({ places }).resolve(reference, AbortSignal.timeout(TIMEOUT), () => undefined);
    const missing = [found.kernel, found.initrd, found.rootfs].filter((file) => !existsSync(file));
    if (missing.length === 0) {
      return { finding: good(subject, `kernel ${found.kernelVersion}, ${found.digest.slice(0, 19)}`), found };
    }
    return { finding: bad(subject, `${missing.join(", ")} is missing`, "build it again: fireteact image build") };
  } catch (error) {
    if (!(error instanceof FireteactError) || error.code !== "IMAGE_MISSING") {
      return { finding: failed(subject, error, "build it again: fireteact image build") };
    }
    return { finding: checkBuilding(subject, error.hint ?? "fireteact image build") };
  }
}

/** The registry is not asked: that is `serve`'s, with its own patience. */
async function findPulled(places: Places, reference: string): Promise<{ finding: Finding; found?: GuestImage }> {
  const subject = `image ${reference}`;
  const pulled = await readPulled(places, canonical(reference) ?? reference);
  const record = pulled === undefined ? undefined : await readRecord(imageDirectory(places, pulled.image));
  if (record !== undefined) {
    const found = toImage(places, record);
    return { finding: good(subject, `kernel ${found.kernelVersion}, ${found.digest.slice(0, 19)}`), found };
  }
  const hint = `pull it now: fireteact image pull ${reference}`;
  return { finding: warning(subject, "not here yet: serve pulls it first", hint) };
}

/** An image that is not here yet is built at the first start, where its tools are. */
function checkBuilding(subject: string, command: string): Finding {
  const missing = Object.entries(BUILD_TOOLS).filter(([tool]) => !inPath(tool));
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(([, name]) => name))].join(" ");
    const tools = missing.map(([tool]) => tool).join(", ");
    return bad(subject, `not here, and cannot be built without ${tools}`, `apt-get install ${packages}`);
  }
  return warning(subject, "not here yet: serve builds it first, which takes minutes", `build it now: ${command}`);
}

function inPath(tool: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

interface Virtualisation extends Guests {
  version: string;
  kernel: string | undefined;
  places: Places;
}

async function checkVirtualisation(wanted: Virtualisation, progress: (line: string) => void): Promise<Finding> {
  const subject = "virtualisation";
  const { accelerator, kernel } = wanted;
  if (accelerator === "tcg") return good(subject, "emulation, as configured");
  const slow = (detail: string, hint: string): Finding => {
    if (accelerator === "kvm") return bad(subject, detail, `${hint}; or set qemu.accelerator to auto`);
    return warning(subject, `${detail}; so guests are emulated, which is many times slower`, hint);
  };
  const enable =
    "switch on virtualisation in the firmware, or nested virtualisation where this host is a virtual machine itself";
  if (!existsSync("/dev/kvm")) {
    return slow("there is no /dev/kvm", `${enable}, and load the module (modprobe kvm_intel or kvm_amd)`);
  }
  if (kernel === undefined || !existsSync(kernel)) {
    return warning(subject, "/dev/kvm is there; not tried yet for want of a guest kernel", "build the image first");
  }
  if (!isRoot()) return warning(subject, "/dev/kvm is there; not tried, which takes root", "run doctor as root");
  progress("trying whether KVM runs a guest kernel...");
  const { binary, version, places } = wanted;
  const directory = join(places.state, "probe");
  const signal = AbortSignal.timeout(TIMEOUT);
  const verdict = await probeKvm({ binary, version, kernel, directory, signal }).catch((error: unknown) => ({
    works: false,
    detail: describe(error),
  }));
  if (verdict.works) return good(subject, `KVM: ${verdict.detail}`);
  return slow(`KVM cannot be used: ${verdict.detail}`, enable);
}

/** Whether the kernel can hold monitors to their memory. */
function checkLimits(): Finding {
  if (!isRoot()) return warning("memory limits", "not tried, which takes root", "run doctor as root");
  const problem = checkCgroups("0".repeat(HOST_ID_DIGITS), systemClock);
  if (problem === undefined) return good("memory limits", "control groups hold each guest's monitor to its memory");
  return warning(
    "memory limits",
    `a guest's monitor that takes too much memory can harm the whole host: ${problem}`,
    "mount control groups writable with the controllers memory and pids, or lower host.memoryMib to leave more spare",
  );
}

async function checkNetwork(places: Places, settings: Settings | undefined): Promise<Finding> {
  if (!isRoot()) return warning("network", "not tried, which takes root", "run doctor as root");
  const { subnet, dns } = settings?.network ?? {};
  try {
    const network = createEmbeddedNetwork({
      hostId: "0".repeat(HOST_ID_DIGITS),
      places,
      log: silentLogger,
      clock: systemClock,
      ...(subnet === undefined ? {} : { subnet }),
      ...(dns === undefined ? {} : { nameservers: dns }),
    });
    const { ok, detail, hint } = await network.check();
    if (!ok) return bad("network", detail, hint ?? "see docs/network.md");
    return hint === undefined ? good("network", detail) : warning("network", detail, hint);
  } catch (error) {
    return failed("network", error, "see docs/network.md");
  }
}
