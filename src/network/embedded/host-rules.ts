import type { Clock, Timer } from "../../base/clock.ts";
import { describe } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { EgressPolicy } from "../../core/settings.ts";
import type { Egress } from "../port.ts";
import type { Commands } from "./commands.ts";
import { createWanted } from "./egress.ts";
import type { Layout } from "./layout.ts";
import type { Resolve } from "./names.ts";
import { moveGuests, splitGuests } from "./policy-rules.ts";
import { hostRules, noHostRules } from "./rules.ts";

/** The host's rules, kept as they have to be: names are looked up again, and what another program removed comes back. */
export interface HostRules {
  /** Applies the rules now, and watches over them from then on. */
  start(nameservers: string[]): Promise<void>;
  /** Replaces what guests may reach. */
  allow(egress: Egress): Promise<void>;
  /** The policy of a pool's guests; the one they came with where the pool is not known any more. */
  policyOf(pool: string, before?: EgressPolicy): EgressPolicy;
  /** Puts an address under a policy, at once where the rules are in force. */
  place(address: string, policy: EgressPolicy): Promise<void>;
  /** Nobody has the address any more; the rules forget it with their next change. */
  forget(address: string): void;
  /** Looks now whether all is as it has to be, and mends it. */
  look(): Promise<void>;
  /** Stops watching; the rules stay. */
  stop(): Promise<void>;
  remove(): Promise<void>;
}

/** How often it is looked whether the rules are there, and names in policies are looked up again. */
const WATCH = 10_000;
/** How often the forge's names are. */
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
  const wanted = createWanted(options.resolve);
  const placed = new Map<string, EgressPolicy>();
  let nameservers: string[] | undefined;
  /** The rules in force, and with which policy each guest is in them. */
  let applied: { rules: string; guests: Map<string, number> } | undefined;
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
      wanted.ask(servers);
      await lookUp(true);
      await inTurn(() => {
        applied = undefined;
        return apply();
      });
      schedule();
    },
    async allow(egress) {
      wanted.replace(egress);
      if (nameservers === undefined) return;
      await lookUp(true);
      await inTurn(apply);
    },
    policyOf: (pool, before) => wanted.policyOf(pool, before),
    async place(address, policy) {
      placed.set(address, policy);
      await inTurn(apply);
    },
    forget: (address) => void placed.delete(address),
    async look() {
      await inTurn(watch);
    },
    async stop() {
      timer?.cancel();
      timer = undefined;
      nameservers = undefined;
      await inTurn(() => Promise.resolve());
    },
    remove: () => commands.nft(noHostRules()),
  };

  async function lookUp(all: boolean): Promise<void> {
    if (all) lookedUpAt = clock.uptime();
    const problems = await wanted.lookUp(clock.uptime(), all);
    if (problems.join() !== told) {
      for (const problem of problems) log.warn({ problem }, "guests may not reach what they are allowed");
    }
    told = problems.join();
  }

  /** Makes the rules what they have to be, if they are not: one transaction for all that waited for it. */
  async function apply(): Promise<void> {
    if (nameservers === undefined) return;
    const endpoints = wanted.endpoints();
    const keys = [...new Set([...wanted.policies(), ...placed.values()].map((policy) => JSON.stringify(policy)))];
    const policies = keys.map((key) => wanted.rulesOf(JSON.parse(key) as EgressPolicy));
    const guests = new Map([...placed].map(([address, policy]) => [address, keys.indexOf(JSON.stringify(policy))]));
    const rulesFor = (who: (index: number) => string[]): string =>
      hostRules(layout, {
        endpoints,
        nameservers: nameservers ?? [],
        policies: policies.map((policy, index) => ({ ...policy, guests: who(index) })),
      });
    const rules = rulesFor(() => []);
    if (rules === applied?.rules && (await move(applied.guests, guests))) return;
    await commands.nft(rulesFor((index) => [...guests].filter(([, own]) => own === index).map(([address]) => address)));
    applied = { rules, guests };
    seal = splitGuests(await commands.ourRules()).rest;
    log.debug({ endpoints }, "network rules applied");
  }

  /** Moves guests between the policies in force; false where the rules are not as they were left. */
  async function move(before: Map<string, number>, after: Map<string, number>): Promise<boolean> {
    const moves = [...new Set([...before.keys(), ...after.keys()])]
      .map((address) => ({ address, from: before.get(address), to: after.get(address) }))
      .filter(({ from, to }) => from !== to);
    if (moves.length === 0) return true;
    try {
      await commands.nft(moveGuests(moves));
    } catch (error) {
      log.debug({ reason: describe(error) }, "network rules are made anew");
      return false;
    }
    if (applied !== undefined) applied = { ...applied, guests: after };
    return true;
  }

  async function watch(): Promise<void> {
    if (nameservers === undefined) return;
    const { rest, guests } = splitGuests(await commands.ourRules());
    if (rest === "" || rest !== seal || !isSame(guests, applied?.guests)) {
      applied = undefined;
      log.warn("another program removed the network rules that keep guests apart: they are put back");
    }
    if (await options.forward()) log.warn("IP forwarding of this host was switched off and is on again");
    await apply();
  }

  function schedule(): void {
    timer?.cancel();
    if (watchEvery === 0) return;
    timer = clock.after(watchEvery, () => {
      // Outside of the turn: a name server that is silent holds up nobody.
      lookUp(clock.uptime() - lookedUpAt >= LOOK_UP)
        .then(() => inTurn(watch))
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

const isSame = (one: Map<string, number>, other: Map<string, number> | undefined): boolean =>
  one.size === other?.size && [...one].every(([address, index]) => other.get(address) === index);
