import { isIPv4 } from "node:net";
import * as z from "zod";
import { FireteactError } from "../../base/errors.ts";
import type { CniVersion } from "./conf-list.ts";

const MOST = 64;
const text = z.string().max(1_024);

/** What ADD prints, of all versions since 0.3.0. Whatever else is in it goes to the next plugin as it is. */
export const AddResult = z.looseObject({
  cniVersion: text,
  interfaces: z
    .array(z.looseObject({ name: text, mac: text.optional(), sandbox: text.optional() }))
    .max(MOST)
    .optional(),
  ips: z
    .array(z.looseObject({ address: text, gateway: text.optional(), interface: z.int().min(0).nullish() }))
    .max(MOST)
    .optional(),
  routes: z
    .array(z.looseObject({ dst: text, gw: text.optional() }))
    .max(1_024)
    .optional(),
  dns: z.looseObject({ nameservers: z.array(text).max(MOST).optional() }).optional(),
});
export type AddResult = z.output<typeof AddResult>;

/** What the guest needs to know of its network. */
export interface GuestEnd {
  tap: string;
  mac: string;
  /** With prefix length. */
  address: string;
  gateway: string;
  nameservers: string[];
}

/** @throws FireteactError `CNI_PLUGIN_OUTPUT` */
export function parseResult(value: unknown, version: CniVersion, plugin: string): AddResult {
  const parsed = AddResult.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const place = issue?.path.length ? `${issue.path.join(".")}: ` : "";
    throw nonsense(plugin, `its result is none (${place}${issue?.message ?? "unknown"})`);
  }
  if (parsed.data.cniVersion !== version) {
    throw nonsense(
      plugin,
      `asked in version ${version} it answered in ${JSON.stringify(parsed.data.cniVersion.slice(0, 20))}`,
    );
  }
  return parsed.data;
}

/**
 * Finds the guest's end in the last result: the interface whose sandbox is the guest itself, and the tap of the same name in
 * its namespace, as tc-redirect-tap tells them.
 * @throws FireteactError `CNI_NO_TAP` or `CNI_NO_ADDRESS`
 */
export function guestEnd(result: AddResult, guest: { hex: string; namespace: string }): GuestEnd {
  const interfaces = result.interfaces ?? [];
  const index = interfaces.findIndex(({ sandbox }) => sandbox === guest.hex);
  const own = interfaces[index];
  const tap = interfaces.find(({ name, sandbox }) => name === own?.name && sandbox === guest.namespace);
  if (own === undefined || tap === undefined || !/^[A-Za-z0-9][\w.-]{0,14}$/.test(own.name)) {
    throw new FireteactError("CNI_NO_TAP", "the CNI plugins made no tap for the guest", {
      hint: 'end the configuration list with { "type": "tc-redirect-tap" }, the plugin that makes one',
    });
  }
  const { mac = "" } = own;
  if (!/^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/i.test(mac)) {
    throw noAddress(`${JSON.stringify(mac.slice(0, 40))} is no MAC for it`);
  }
  const ips = (result.ips ?? []).filter((ip) => ip.interface === index && isNetworkAddress(ip.address));
  const [ip] = ips;
  if (ip === undefined) throw noAddress("none of them is IPv4 and for the guest");
  const route = result.routes?.find(({ dst, gw }) => dst === "0.0.0.0/0" && isIPv4(gw ?? ""));
  const gateway = ip.gateway ?? route?.gw ?? "";
  if (!isIPv4(gateway)) throw noAddress("it has no gateway; set isGateway in the bridge plugin's configuration");
  return {
    tap: own.name,
    mac: mac.toLowerCase(),
    address: ip.address,
    gateway,
    nameservers: [...new Set(result.dns?.nameservers ?? [])].filter((server) => isIPv4(server)).slice(0, 3),
  };
}

/** What a plugin says did not go: never more than a line of it. */
export function pluginError(value: unknown): { code: number; message: string } | undefined {
  const parsed = z
    .object({ code: z.number(), msg: z.string().default(""), details: z.string().default("") })
    .safeParse(value);
  if (!parsed.success) return undefined;
  const { code, msg, details } = parsed.data;
  return { code, message: oneLine(details === "" ? msg : `${msg} (${details})`) };
}

export const oneLine = (said: string): string =>
  said
    .replaceAll(/[\s\p{C}]+/gu, " ")
    .trim()
    .slice(0, 300);

export const nonsense = (plugin: string, reason: string): FireteactError =>
  new FireteactError("CNI_PLUGIN_OUTPUT", `the CNI plugin "${plugin}" does not keep to the specification: ${reason}`, {
    hint: `run it by hand to see what it prints; is the file in cni.binDir really that plugin?`,
    facts: { plugin },
  });

const noAddress = (reason: string): FireteactError =>
  new FireteactError("CNI_NO_ADDRESS", `the CNI plugins gave the guest no usable address: ${reason}`, {
    hint: "the first plugin of the configuration list needs an ipam that gives IPv4 addresses, such as host-local",
  });

function isNetworkAddress(address: string): boolean {
  const [, host = "", prefix] = /^([\d.]+)\/(\d{1,2})$/.exec(address) ?? [];
  return isIPv4(host) && Number(prefix) <= 32;
}
