import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Host, type HostOptions, openHost } from "../host.ts";
import { FAKE_POOL } from "../orchestrator.ts";
import { remainsOf } from "../remains.ts";

/** What courses of events take place on: sandboxes of one kind, and a host for them. */
export interface Ground {
  /** Opens a host whose daemons are started by the command, with pools of one kind. */
  open(options: Pick<HostOptions, "command" | "forge">, pool: Record<string, unknown>): Promise<Host>;
  /** What a job of the name `held` runs: it ends once it was let go. */
  hold(host: Host): string;
  letGo(host: Host): void;
  /** What is there that should not be once the daemon has stopped. */
  remains(host: Host): Promise<string[]>;
  /** Milliseconds after which everything is done, or never. */
  deadline: number;
}

/** Child processes in the places of sandboxes; many hosts at a time. */
export const fakeGround: Ground = {
  open: (options, pool) =>
    openHost({
      ...options,
      config: {
        pools: [{ ...FAKE_POOL, ...pool }],
        shutdown: "drain",
        drainTimeout: "60s",
        limits: { boot: "20s", ready: "20s", idle: "5s" },
      },
    }),
  hold: (host) => `until [ -e ${goFile(host)} ]; do sleep 0.05; done`,
  letGo: (host) => writeFileSync(goFile(host), ""),
  remains: async (host) => remainsOf(host.places, host.daemons()),
  deadline: 120_000,
};

const goFile = (host: Host) => join(host.directory, "go");
