import { WORLD } from "./lab.ts";

/** Frames as hexadecimal text, made by hand: what a decent network stack would never send. */
export const ALL = "ffffffffffff";
/** Something to look for in what arrives. */
export const MARK = Buffer.from("fireteact-attack").toString("hex");

/** Four bytes of an address. */
export const ip = (text: string): string => Buffer.from(text.split(".").map(Number)).toString("hex");

export function udpFrame(options: {
  to: string;
  from: string;
  source: string;
  destination?: string;
  tag?: string;
}): string {
  const { to, from, source, destination = WORLD.internet, tag = "" } = options;
  const length = (8 + 16).toString(16).padStart(4, "0");
  const total = (20 + 8 + 16).toString(16).padStart(4, "0");
  const header = `4500${total}0000000040110000${ip(source)}${ip(destination)}`;
  return (
    `${to}${from}${tag}0800${header.replace(/^(.{20})0000/, `$1${checksum(header)}`)}303930390000`.replace(
      /0000$/,
      "",
    ) + `${length}0000${MARK}`
  );
}

function checksum(header: string): string {
  const words = header.match(/.{4}/g) ?? [];
  let sum = words.reduce((total, word) => total + Number.parseInt(word, 16), 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (~sum & 0xffff).toString(16).padStart(4, "0");
}

export function ipv6Frame(from: string): string {
  const linkLocal = `fe80000000000000${from.slice(0, 6)}fffe${from.slice(6)}`;
  const allNodes = `ff02${"00".repeat(13)}01`;
  return `333300000001${from}86dd6000000000183bff${linkLocal}${allNodes}${MARK}${"00".repeat(8)}`;
}

export function arpFrame(options: { operation: string; from: string; sender: string; target: string }): string {
  const { operation, from, sender, target } = options;
  return `${ALL}${from}0806000108000604${operation}${from}${ip(sender)}${"00".repeat(6)}${ip(target)}${MARK}`;
}
