import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { FireteactError } from "../../base/errors.ts";

/** Where Node and engines find the extra certificate authorities in a guest. */
export const GUEST_CA_BUNDLE = "/usr/lib/fireteact/ca.pem";

/** Never through a proxy: the guest itself, and its metadata. */
const NO_PROXY = ["localhost", "127.0.0.1", "::1", "169.254.169.254", "metadata.fireteact.internal"];
const PROXIES = ["http_proxy", "https_proxy", "all_proxy"];

/**
 * The guest's environment file from the owner's settings: what init exports for the agent, and so for engines and jobs.
 * Proxies are written in both cases, since programs disagree on the case, and Node is told to heed them.
 */
export function guestEnvironment(env: Readonly<Record<string, string>>, hasCertificates: boolean): string {
  for (const [name, value] of Object.entries(env)) check(name, value);
  const all: Record<string, string> = { ...env };
  const either = (name: string): string | undefined => env[name] ?? env[name.toUpperCase()];

  if (PROXIES.some((name) => either(name) !== undefined)) {
    const bypass = [...new Set([...(either("no_proxy") ?? "").split(","), ...NO_PROXY])].filter((host) => host !== "");
    both(all, "no_proxy", bypass.join(","));
    for (const name of PROXIES) both(all, name, either(name));
    all["NODE_USE_ENV_PROXY"] ??= "1";
  }
  if (hasCertificates) all["NODE_EXTRA_CA_CERTS"] ??= GUEST_CA_BUNDLE;
  const lines = Object.entries(all).map(([name, value]) => `${name}=${value}\n`);
  return lines.toSorted().join("");
}

function both(all: Record<string, string>, name: string, value: string | undefined): void {
  if (value === undefined) return;
  all[name] = value;
  all[name.toUpperCase()] = value;
}

function check(name: string, value: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    throw new FireteactError("GUEST_ENV", `guest.env: ${JSON.stringify(name)} is not a name for a variable`);
  }
  if (/[\n\r\0]/.test(value)) {
    throw new FireteactError(
      "GUEST_ENV",
      `guest.env: the value of ${name} has a line break, which a variable cannot have`,
    );
  }
}

/** Reads PEM files of certificate authorities: each certificate apart, as the system's trust store wants them. */
export async function readCertificates(paths: readonly string[]): Promise<string[]> {
  const certificates: string[] = [];
  for (const path of paths) {
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      throw new FireteactError("GUEST_CA", `guest.caFiles: ${path} cannot be read`, { cause: error });
    });
    const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    if (blocks.length === 0) {
      throw new FireteactError("GUEST_CA", `guest.caFiles: ${path} holds no certificate in PEM form`, {
        hint: "A PEM file has lines between BEGIN CERTIFICATE and END CERTIFICATE; convert DER with: openssl x509 -inform der",
      });
    }
    certificates.push(...blocks.map((block) => normalised(path, block)));
  }
  return [...new Set(certificates)];
}

function normalised(path: string, block: string): string {
  try {
    return new X509Certificate(block).toString();
  } catch (error) {
    throw new FireteactError("GUEST_CA", `guest.caFiles: ${path} holds a damaged certificate`, { cause: error });
  }
}
