import { readFile, stat, writeFile } from "node:fs/promises";
import * as z from "zod";
import { FireteactError, ignore } from "../../base/errors.ts";
import { BRIDGE, NFT_TABLE } from "../../base/names.ts";
import type { NetworkCheck } from "../port.ts";
import { refuseClashes } from "./bridge.ts";
import type { Commands } from "./commands.ts";
import type { Layout } from "./layout.ts";
import type { PolicyRules } from "./policy-rules.ts";
import { hostRules } from "./rules.ts";
import { formatCidr, slotCount } from "./subnet.ts";

const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

/** Lets the host forward packets at all; says whether it did not before. */
export async function enableForwarding(): Promise<boolean> {
  if ((await readFile(FORWARDING, "utf8")).trim() !== "0") return false;
  await writeFile(FORWARDING, "1");
  return true;
}

export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new FireteactError("NETWORK_NOT_ROOT", "networks for guests need root", { hint: "run it as root" });
}

/** Whether guests' networks can be made on this host, without changing anything. */
export async function checkHost(commands: Commands, layout: Layout, nameservers: string[]): Promise<NetworkCheck> {
  try {
    requireRoot();
    if ((await stat("/dev/net/tun").catch(ignore("ENOENT"))) === undefined) {
      throw new FireteactError("NETWORK_NO_TUN", "there is no /dev/net/tun", { hint: "load it with: modprobe tun" });
    }
    await refuseClashes(commands, layout);
    await tryRules(commands, layout);
    return { ok: true, ...(await describeHost(commands, layout, nameservers)) };
  } catch (error) {
    if (!(error instanceof FireteactError)) throw error;
    return { ok: false, detail: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  }
}

/** Uses everything that a policy may ask of the kernel. */
const SAMPLE: PolicyRules = {
  reach: "internet-only",
  allow: [{ networks: ["192.0.2.1"], ports: [443, 443] }],
  rates: { uploadMbit: 1, downloadMbit: 1, packetsPerSecond: 1, connectionsPerSecond: 1 },
  guests: [],
};

async function tryRules(commands: Commands, layout: Layout): Promise<void> {
  await commands
    .nft(hostRules(layout, { endpoints: [], nameservers: [], policies: [SAMPLE] }), { dryRun: true })
    .catch((cause: unknown) => {
      if (cause instanceof FireteactError && cause.code !== "NETWORK_COMMAND_FAILED") throw cause;
      throw new FireteactError("NETWORK_NO_NFTABLES", "the kernel does not take the rules that keep guests apart", {
        hint: "nf_tables with the families inet, bridge and netdev is needed (modules nf_tables, nft_ct, nft_nat, nft_limit, nft_reject_inet)",
        cause,
      });
    });
}

async function describeHost(
  commands: Commands,
  layout: Layout,
  nameservers: string[],
): Promise<{ detail: string; hint?: string }> {
  const forwarding = (await readFile(FORWARDING, "utf8")).trim() !== "0";
  const detail = [
    `bridge ${BRIDGE}, ${formatCidr(layout.subnet)} for ${slotCount(layout.subnet)} guests`,
    nameservers.length === 0 ? "no name servers" : `name servers ${nameservers.join(", ")}`,
    forwarding ? "IP forwarding is on" : "IP forwarding is off and will be switched on by serve",
  ].join("; ");
  const hints = [
    ...(nameservers.length === 0
      ? ["set network.nameservers: the host has only loopback name servers, which guests cannot reach"]
      : []),
    ...(await droppingChains(commands)).map(
      (chain) =>
        `${chain} drops forwarded packets: accept those from and to ${BRIDGE} there, or guests reach no network`,
    ),
  ];
  return hints.length === 0 ? { detail } : { detail, hint: hints.join("; ") };
}

const Chains = z.object({
  nftables: z.array(
    z.object({
      chain: z
        .object({ family: z.string(), table: z.string(), name: z.string(), hook: z.string(), policy: z.string() })
        .partial({ hook: true, policy: true })
        .optional(),
    }),
  ),
});

/** A packet must pass the chains of all tables: Docker's policy for forwarded ones is to drop them. */
async function droppingChains(commands: Commands): Promise<string[]> {
  const { nftables } = Chains.parse(await commands.nftJson(["list", "chains"]));
  return nftables
    .map(({ chain }) => chain)
    .filter((chain) => chain !== undefined)
    .filter(({ table, hook, policy }) => table !== NFT_TABLE && hook === "forward" && policy === "drop")
    .map(({ family, table, name }) => `the chain "${family} ${table} ${name}"`);
}
