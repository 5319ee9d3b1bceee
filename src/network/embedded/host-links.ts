import * as z from "zod";
import { BRIDGE } from "../../base/names.ts";
import type { Commands } from "./commands.ts";
import { BRIDGE_MAC, type Layout } from "./layout.ts";

/** Interfaces of the host, as they are. */
export interface HostLinks {
  /** Whether the bridge is there, up, with its address. */
  hasBridge(layout: Layout): boolean;
  has(name: string): boolean;
  /** Whether it is an isolated port of the bridge, and up. */
  isPort(name: string): boolean;
}

const Link = z.object({
  ifname: z.string(),
  address: z.string().optional(),
  flags: z.array(z.string()).default([]),
  master: z.string().optional(),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_slave_data: z.object({ isolated: z.boolean().optional() }).optional(),
    })
    .optional(),
  addr_info: z.array(z.object({ local: z.string().optional() })).default([]),
});

/** All interfaces, or one of them. */
export async function hostLinks(commands: Commands, only?: string): Promise<HostLinks> {
  const found = await commands.ipJson(["-d", "address", "show", ...(only === undefined ? [] : ["dev", only])], [0, 1]);
  // What is asked for by name and is not there is an empty answer.
  const links = new Map(
    z
      .array(Link)
      .parse(found)
      .map((link) => [link.ifname, link]),
  );
  const isUp = (name: string): boolean => links.get(name)?.flags.includes("UP") === true;
  return {
    has: (name) => links.has(name),
    hasBridge: ({ gateway }) => {
      const link = links.get(BRIDGE);
      const hasAddress = link?.addr_info.some(({ local }) => local === gateway) === true;
      return link?.address === BRIDGE_MAC && hasAddress && isUp(BRIDGE);
    },
    isPort: (name) => {
      const link = links.get(name);
      return link?.master === BRIDGE && link.linkinfo?.info_slave_data?.isolated === true && isUp(name);
    },
  };
}
