import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFileSync } from "../base/atomic-file.ts";
import { ignore } from "../base/errors.ts";
import { HOST_ID_DIGITS } from "../base/names.ts";

/**
 * The six digits that mark this host's runners in a forge. Made once and kept; made anew when the machine id differs,
 * since then the state directory was copied from another machine, which still owns the old ones.
 */
export function hostId(stateDirectory: string, machineIdFile = "/etc/machine-id"): string {
  mkdirSync(stateDirectory, { recursive: true });
  // Monitors run as users of their own and open images below it; what is secret in it has its own permissions.
  chmodSync(stateDirectory, 0o711);
  const path = join(stateDirectory, "host-id");
  const machine = fingerprint(readText(machineIdFile) ?? "");
  const [id, madeOn] = (readText(path) ?? "").trim().split(" ");
  if (id !== undefined && new RegExp(`^[0-9a-f]{${HOST_ID_DIGITS}}$`).test(id) && madeOn === machine) return id;
  const fresh = randomBytes(HOST_ID_DIGITS / 2).toString("hex");
  replaceFileSync(path, `${fresh} ${machine}\n`);
  return fresh;
}

/** The machine id itself is meant to stay on the machine. */
const fingerprint = (machineId: string): string =>
  createHash("sha256").update(`fireteact ${machineId.trim()}`).digest("hex").slice(0, 16);

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return ignore("ENOENT", "EACCES")(error);
  }
}
