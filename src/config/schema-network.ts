import * as z from "zod";
import { destination } from "./destination.ts";
import { subnet } from "./subnet.ts";

const MOST_DESTINATIONS = 200;

const rates = (more: string) =>
  z.strictObject({
    uploadMbit: z.number().min(0.1).max(100_000).optional().describe(`Megabits a second a guest sends.${more}`),
    downloadMbit: z.number().min(0.1).max(100_000).optional().describe(`Megabits a second a guest receives.${more}`),
    packetsPerSecond: z.int().min(10).max(10_000_000).optional().describe(`Packets a second a guest sends.${more}`),
    connectionsPerSecond: z
      .int()
      .min(1)
      .max(100_000)
      .optional()
      .describe(`New TCP connections a second of a guest, those to the forge not counted.${more}`),
  });

const egress = () => z.enum(["open", "internet-only", "allow-list"]);

const allow = () => z.array(destination()).max(MOST_DESTINATIONS);

/** The same keys for all pools, and for one of them. */
export const networkSchema = z.strictObject({
  subnet: subnet().default("10.201.0.0/24").describe("Network of the guests on this host; one address per guest."),
  dns: z
    .array(z.ipv4("must be an IPv4 address"))
    .max(3)
    .default([])
    .describe("Name servers for guests. Default: the host's own."),
  egress: egress()
    .default("internet-only")
    .describe(
      "What guests reach besides forge and name servers: everything beyond this host (open), of that the public internet only, or nothing but what allow names.",
    ),
  allow: allow()
    .default([])
    .describe(
      "Destinations that guests reach whatever egress says: host name, IPv4 address or network, with a port or ports if not all are meant. This host's own ports only by exact address and port.",
    ),
  rates: rates(" Default: no limit.").prefault({}).describe("Limits of each guest's network."),
});

export const poolNetworkSchema = z.strictObject({
  egress: egress().optional().describe("What this pool's guests reach. Default: network.egress."),
  allow: allow().optional().describe("Destinations instead of those of network.allow."),
  rates: rates(" Default: that of network.rates.").prefault({}).describe("Limits of each guest's network."),
});
