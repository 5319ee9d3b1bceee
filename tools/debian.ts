// Debian packages that demo and tests need: what each is for, which are missing, and installing those.
import { execFileSync, spawnSync } from "node:child_process";

/** Package to reason; the reason is shown before anything is installed. */
const REASONS = {
  "qemu-system-x86": "runs the microVMs",
  nftables: "keeps guests apart and off the host",
  iproute2: "makes the guests' networks",
  mmdebstrap: "builds the guest image",
  "busybox-static": "starts the guest before its root disk is there",
  e2fsprogs: "writes the guest's disks",
  git: "serves the forge simulator's repositories",
  "containernetworking-plugins": "are the CNI plugins of the network tests",
  iptables: "is what those plugins make their rules with",
  openssl: "makes certificates for tests",
  "docker-registry": "is the registry that tests pull images from",
  python3: "sends forged packets in tests",
  systemd: "checks the units of native pools in tests",
} as const;

export type Package = keyof typeof REASONS;

export const DEMO_PACKAGES: readonly Package[] = [
  "qemu-system-x86",
  "nftables",
  "iproute2",
  "mmdebstrap",
  "busybox-static",
  "e2fsprogs",
  "git",
];
export const TEST_PACKAGES = Object.keys(REASONS) as readonly Package[];

function installed(name: string): boolean {
  const query = spawnSync("dpkg-query", ["-W", "-f", "${Status}", name], { encoding: "utf8" });
  return query.status === 0 && query.stdout.includes("install ok installed");
}

/** Installs the missing ones of `wanted`; says which and why first. Throws with the remedy where it cannot. */
export function ensurePackages(wanted: readonly Package[]): void {
  const missing = wanted.filter((name) => !installed(name));
  if (missing.length === 0) return;
  const list = missing.map((name) => `  ${name.padEnd(28)} ${REASONS[name]}`).join("\n");
  const command = `apt-get install --no-install-recommends ${missing.join(" ")}`;
  if (process.getuid?.() !== 0) {
    throw new Error(
      `These Debian packages are missing and only root can install them:\n${list}\nRun as root: ${command}`,
    );
  }
  process.stderr.write(`fireteact: installing Debian packages that are missing:\n${list}\n`);
  const options = { stdio: ["ignore", "ignore", "pipe"] as ["ignore", "ignore", "pipe"], encoding: "utf8" as const };
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // A source of somebody else's that does not answer need not hold this up: the installation tells.
  spawnSync("apt-get", ["update", "-q"], { ...options, env });
  try {
    execFileSync("apt-get", ["install", "-y", "-q", "--no-install-recommends", ...missing], { ...options, env });
  } catch (error) {
    const detail = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new Error(
      `Debian packages could not be installed:\n${list}\n${detail}\nInstall them yourself with: ${command}`,
      { cause: error },
    );
  }
}
