import type { Draft, Report } from "./draft.ts";
import { parseListenAddress } from "./fields.ts";
import { checkForge, checkPoolScope } from "./rules-forge.ts";
import { checkPools } from "./rules-pool.ts";

/** What keys mean together. A rule is silent where the schema already refused one of its keys. */
export function checkRules(draft: Draft, report: Report): void {
  checkForge(draft, report);
  checkServer(draft, report);
  checkPools(draft, report);
  checkCni(draft, report);
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    if (pool !== undefined) checkPoolScope(draft, pool, index, report);
  }
}

function checkServer(draft: Draft, report: Report): void {
  const defaults = { address: "127.0.0.1:8080", metricsAddress: "127.0.0.1:8081" };
  for (const key of ["address", "metricsAddress"] as const) {
    const value = draft.server?.[key];
    const address = parseListenAddress(value ?? "");
    if (address?.host === "") {
      report.warn(
        ["server", key],
        `without a host it is reachable from this machine only; write 0.0.0.0:${address.port} for every network`,
      );
    }
  }
  if (draft.server?.address === undefined) {
    report.differs(
      ["server", "address"],
      `not set: the API listens on ${defaults.address}; the original took every network`,
    );
  }
  const api = parseListenAddress(draft.server?.address ?? defaults.address);
  const metrics = parseListenAddress(draft.server?.metricsAddress ?? defaults.metricsAddress);
  if (api === undefined || metrics === undefined || api.port === 0 || api.port !== metrics.port) return;
  if (!sameHost(api.host || LOOPBACK, metrics.host || LOOPBACK)) return;
  const message = `must differ from server.address, found port ${metrics.port} for both`;
  report.error(["server", "metricsAddress"], message, ["server", "address"]);
}

/** Plugins decide what guests reach; the original had no other network. */
function checkCni({ cni, pools }: Draft, report: Report): void {
  for (const [index, pool] of (pools ?? []).entries()) {
    if (pool === undefined || (pool.driver ?? "firecracker") !== "firecracker") continue;
    if (cni === undefined) {
      const message =
        "no cni block: guests use the embedded network; the original took the CNI network of /etc/cni/net.d";
      report.differs(["pools", index], message);
    } else if (pool.network !== undefined) {
      const message = "not used: with cni the plugins decide what the pool's guests reach";
      report.warn(["pools", index, "network"], message, ["cni"]);
    }
  }
}

const LOOPBACK = "127.0.0.1";

const sameHost = (one: string, other: string): boolean =>
  one === other || [one, other].some((host) => host === "0.0.0.0" || host === "::");
