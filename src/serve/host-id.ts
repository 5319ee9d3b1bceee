import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFileSync } from "../base/atomic-file.ts";
import { ignore } from "../base/errors.ts";
import { HOST_ID_DIGITS, type Places } from "../base/names.ts";

/**
 * The six digits that mark this host's runners in a forge. Made once and kept; made anew when the machine id differs,
 * since then the state directory was copied from another machine, which still owns the old ones.
 *
 * The run directory has a copy: when the state is lost, what lives there goes on to be this host's.
 */
export function hostId(places: Places, machineIdFile = "/etc/machine-id"): string {
  mkdirSync(places.state, { recursive: true });
  mkdirSync(places.run, { recursive: true });
  // Monitors run as users of their own and open images below it; what is secret in it has its own permissions.
  chmodSync(places.state, 0o711);
  const machine = fingerprint(readText(machineIdFile) ?? "");
  const files = [places.state, places.run].map((directory) => join(directory, "host-id"));
  const known = files.map((file) => keptIn(file, machine));
  const id = known.find((kept) => kept !== undefined) ?? randomBytes(HOST_ID_DIGITS / 2).toString("hex");
  for (const [index, file] of files.entries()) if (known[index] !== id) replaceFileSync(file, `${id} ${machine}\n`);
  return id;
}

/** The id in the file, where there is one that was made on this machine. */
function keptIn(file: string, machine: string): string | undefined {
  const [id, madeOn] = (readText(file) ?? "").trim().split(" ");
  return id !== undefined && ID.test(id) && madeOn === machine ? id : undefined;
}

const ID = new RegExp(`^[0-9a-f]{${HOST_ID_DIGITS}}$`);

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
