import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/log.ts";
import { HOST_ID_DIGITS, type Places } from "../../base/names.ts";
import type { Settings } from "../../core/settings.ts";
import { createCniNetwork } from "../../network/cni/network.ts";
import { bad, type Finding, failed, good, warning } from "./finding.ts";

const SEE = "see docs/network.md";

/** Whether the CNI network of firecracker pools can be used, where the configuration names it. */
export async function checkCni(places: Places, settings: Settings | undefined): Promise<Finding[]> {
  if (settings?.cni === undefined || settings.pools.every(({ driver }) => driver !== "firecracker")) return [];
  if (process.getuid?.() !== 0) return [warning("cni", "not tried, which takes root", "run doctor as root")];
  const network = createCniNetwork({
    ...settings.cni,
    hostId: "0".repeat(HOST_ID_DIGITS),
    places,
    log: silentLogger,
    clock: systemClock,
  });
  try {
    const { ok, detail, hint } = await network.check();
    if (!ok) return [bad("cni", detail, hint ?? SEE)];
    return [hint === undefined ? good("cni", detail) : warning("cni", detail, hint)];
  } catch (error) {
    return [failed("cni", error, SEE)];
  }
}
