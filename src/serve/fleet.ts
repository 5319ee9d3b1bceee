import { hostname } from "node:os";
import type { Fleet } from "../core/fleet.ts";
import type { Settings } from "../core/settings.ts";

/** The fleet as this host sees it: it finds itself in the list by its host name, with or without domain, or by its id. */
export function fleetOf({ hosts }: Settings["fleet"], hostId: string, name = hostname()): Fleet {
  if (typeof hosts === "number") return { self: hostId, hosts };
  const own = [hostId, name, name.split(".", 1)[0]];
  return { self: hosts.find((host) => own.includes(host)) ?? hostId, hosts };
}

/** What to say about a host that its own list lacks; undefined when all is well. */
export function notInFleet({ self, hosts }: Fleet, name = hostname()): string | undefined {
  if (typeof hosts === "number" || hosts.includes(self)) return undefined;
  return `fleet.hosts names neither ${name} nor ${self}, so this host leaves every job to the others first`;
}
