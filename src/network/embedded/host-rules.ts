import type { Clock, Timer } from "../../base/clock.ts";
import { describe } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
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
  /** Looks now whether all is as it has to be, and mends it. */
  look(): Promise<void>;
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
  /** What else is to be looked at each time, after the rules. */
  alongside?: () => Promise<void>;
}): HostRules {
  const { commands, layout, clock, log, watchEvery = WATCH } = options;
  const openings = createOpenings(options.resolve);
  let egress: Egress = { allow: [] };
  let nameservers: string[] | undefined;
  let applied: string | undefined;
  /** How the tables read once they were applied. */
  let seal = "";
  let told = "";
  let failure = "";
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
    async look() {
      if (nameservers !== undefined) await inTurn(watch);
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
    seal = await commands.ourRules();
    log.debug({ endpoints }, "network rules applied");
  }

  async function watch(): Promise<void> {
    if (nameservers === undefined) return;
    const rules = await commands.ourRules();
    if (rules === "" || rules !== seal) {
      applied = undefined;
      log.warn("another program removed the network rules that keep guests apart: they are put back");
    }
    if (await options.forward()) log.warn("IP forwarding of this host was switched off and is on again");
    if (applied === undefined || clock.uptime() - lookedUpAt >= LOOK_UP) await apply();
  }

  function schedule(): void {
    timer?.cancel();
    if (watchEvery === 0) return;
    timer = clock.after(watchEvery, () => {
      inTurn(watch)
        .then(() => options.alongside?.())
        .then(
          () => (failure = ""),
          (error: unknown) => tell(describe(error)),
        )
        .finally(() => {
          if (timer !== undefined) schedule();
        });
    });
  }

  /** What fails again and again is said once. */
  function tell(reason: string): void {
    if (reason !== failure) log.warn({ reason }, "the networks of this host could not be kept up");
    failure = reason;
  }

  async function inTurn(work: () => Promise<void>): Promise<void> {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    await mine;
  }
}
