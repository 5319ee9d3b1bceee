import { exec } from "../../../src/base/exec.ts";
import type { Places } from "../../../src/base/names.ts";

/**
 * Where daemons under test keep their things, apart from any installation: every user must be able to enter it, since
 * each monitor runs as one of its own. The guest images in it are kept for the next run.
 */
export const PLACES: Places = { state: "/var/tmp/fireteact-e2e", run: "/var/tmp/fireteact-e2e/run" };

/** An address of this host that guests can reach and that nothing outside can: an interface with nothing behind it. */
export const HOST_ADDRESS = "10.202.1.1";
const INTERFACE = "fte2e0";

/** Makes it, unless it is there. */
export async function addHostAddress(): Promise<void> {
  const exists = 2;
  await exec("ip", ["link", "add", INTERFACE, "type", "bridge"], { accept: [0, exists] });
  await exec("ip", ["address", "add", `${HOST_ADDRESS}/32`, "dev", INTERFACE], { accept: [0, exists] });
  await exec("ip", ["link", "set", INTERFACE, "up"]);
}

export async function removeHostAddress(): Promise<void> {
  await exec("ip", ["link", "delete", INTERFACE], { accept: [0, 1] });
}

/** A virtual machine on two busy cores takes its time. */
export const MINUTE = 60_000;
