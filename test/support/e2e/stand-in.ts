import { join } from "node:path";
import { EMULATOR_MIB } from "../firecracker/host.ts";
import { installStandIn, type StandIn } from "../firecracker/install.ts";
import { PLACES } from "./host.ts";

/** Installs the stand-in for Firecracker, and says what a pool that uses it has in its block `firecracker`. */
export async function standInSettings(): Promise<{ standIn: StandIn; settings: Record<string, unknown> }> {
  const standIn = await installStandIn(join(PLACES.state, "stand-in"));
  return { standIn, settings: { binaryPath: standIn.binary, jailer: false, overheadMib: EMULATOR_MIB } };
}
