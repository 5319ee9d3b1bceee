import * as z from "zod";
import type { Destination } from "../core/settings.ts";
import { apartFrom } from "./subnet.ts";

/** `host`, `host:443`, `host:8000-8100`, `10.0.0.0/8:5000`: where guests may go. */
export const destination = () =>
  z
    .string()
    .max(300)
    .refine((value) => !value.includes("*"), "must name one host: which hosts *.example.com stands for no DNS tells")
    .refine((value) => value.includes("*") || parseDestination(value) !== undefined, SHAPE)
    .refine((value) => isAllowed(parseDestination(value)), CLASH);

const SHAPE =
  "must be a host name, an IPv4 address or an IPv4 network, with a port or ports if not all are meant: example.com:443, 10.1.2.3:8000-8100, 10.1.0.0/16";
const CLASH = "must not be a loopback or link-local address, or a cloud's metadata: no guest reaches them";
const NEVER = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "100.100.100.200/32", "168.63.129.16/32"];

const NAME = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\.?$/i;

/** Undefined where the text is no destination. */
export function parseDestination(value: string): Destination | undefined {
  const [, host = "", first, last = first] = /^([^:]+?)(?::(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(value) ?? [];
  if (!NAME.test(host) && !isNetwork(host)) return undefined;
  const name = NAME.test(host) ? host.toLowerCase().replace(/\.$/, "") : host;
  if (first === undefined) return { host: name };
  const ports: [number, number] = [Number(first), Number(last)];
  return ports[0] >= 1 && ports[0] <= ports[1] && ports[1] <= 65_535 ? { host: name, ports } : undefined;
}

const isNetwork = (host: string): boolean =>
  /^\d{1,3}(?:\.\d{1,3}){3}(?:\/\d{1,2})?$/.test(host) && apartFrom(withPrefix(host), []) !== undefined;

function isAllowed(found: Destination | undefined): boolean {
  if (found === undefined) return true;
  if (found.host === "localhost" || found.host.endsWith(".localhost")) return false;
  return !isNetwork(found.host) || apartFrom(withPrefix(found.host), NEVER) !== false;
}

const withPrefix = (host: string): string => (host.includes("/") ? host : `${host}/32`);
