import * as z from "zod";
import type { Clock, Timer } from "../../base/clock.ts";
import { describe } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { NFT_TABLE } from "../../base/names.ts";
import type { Egress } from "../port.ts";
import type { Commands } from "./commands.ts";
import type { Layout } from "./layout.ts";
import { createOpenings, type Resolve } from "./openings.ts";
import { hostRules, noHostRules } from "./rules.ts";

/** The host's rules, kept as they have to be: names are looked up again, and what another program removed comes back. */
export interface HostRules {
  /** Applies the rules now, and watches over them from then on. */
  start(nameservers: string[]): Promise<void>;
  /** Replaces what guests may always reach. */
  allow(egress: Egress): Promise<void>;
  /** Stops watching; the rules stay. */
  stop(): Promise<void>;
  remove(): Promise<void>;
}

/** How often it is looked whether the rules are there: reloading a firewall often flushes everybody's. */
const WATCH = 10_000;
/** How often names are looked up again. */
const LOOK_UP = 60_000;

export function createHostRules(options: {
  commands: Commands;
  layout: Layout;
  clock: Clock;
  log: Logger;
  /** Switches IP forwarding on; says whether it was off. */
  forward: () => Promise<boolean>;
  resolve?: Resolve | undefined;
  watchEvery?: number | undefined;
}): HostRules {
  const { commands, layout, clock, log, watchEvery = WATCH } = options;
  const openings = createOpenings(options.resolve);
  let egress: Egress = { allow: [] };
  let nameservers: string[] | undefined;
  let applied: string | undefined;
  let told = "";
  let lookedUpAt = 0;
  let timer: Timer | undefined;
  /** The last of the changes, which are made one after the other. */
  let turn: Promise<unknown> = Promise.resolve();

  return {
    async start(servers) {
      nameservers = servers;
      applied = undefined;
      await inTurn(apply);
      schedule();
    },
    async allow(wanted) {
      egress = wanted;
      if (nameservers !== undefined) await inTurn(apply);
    },
    async stop() {
      timer?.cancel();
      timer = undefined;
      nameservers = undefined;
      await inTurn(() => Promise.resolve());
    },
    remove: () => commands.nft(noHostRules()),
  };

  async function apply(): Promise<void> {
    if (nameservers === undefined) return;
    lookedUpAt = clock.uptime();
    const { endpoints, problems } = await openings.resolve(egress, lookedUpAt);
    if (problems.join() !== told) {
      for (const problem of problems) log.warn({ problem }, "guests may not reach the forge");
    }
    told = problems.join();
    const rules = hostRules(layout, { endpoints, nameservers });
    if (rules === applied) return;
    await commands.nft(rules);
    applied = rules;
    log.debug({ endpoints }, "network rules applied");
  }

  async function watch(): Promise<void> {
    if (!(await present())) {
      applied = undefined;
      log.warn("another program removed the network rules that keep guests apart: they are put back");
    }
    if (await options.forward()) log.warn("IP forwarding of this host was switched off and is on again");
    if (applied === undefined || clock.uptime() - lookedUpAt >= LOOK_UP) await apply();
  }

  async function present(): Promise<boolean> {
    const { nftables } = Tables.parse(await commands.nftJson(["list", "tables"]));
    return nftables.filter(({ table }) => table?.name === NFT_TABLE).length >= 2;
  }

  function schedule(): void {
    timer?.cancel();
    timer = clock.after(watchEvery, () => {
      inTurn(watch)
        .catch((error: unknown) => log.warn({ reason: describe(error) }, "network rules could not be kept up"))
        .finally(() => {
          if (timer !== undefined) schedule();
        });
    });
  }

  async function inTurn(work: () => Promise<void>): Promise<void> {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    await mine;
  }
}

const Tables = z.object({
  nftables: z.array(z.object({ table: z.object({ family: z.string(), name: z.string() }).optional() })),
});
