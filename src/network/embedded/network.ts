import type { Server } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { describe, FireteactError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Places } from "../../base/names.ts";
import type { EgressPolicy } from "../../core/settings.ts";
import type { Network } from "../port.ts";
import { ensureBridge, removeBridge } from "./bridge.ts";
import { type Claim, claim, claimDirectory, readClaims, tidy, unclaim } from "./claims.ts";
import { type Commands, hostCommands } from "./commands.ts";
import { checkHost, enableForwarding, requireRoot } from "./host.ts";
import { createHostRules } from "./host-rules.ts";
import { createLayout, guestNetwork, type Slot, slotOf } from "./layout.ts";
import { listen, type MetadataListener } from "./listener.ts";
import { watchRemovals } from "./monitor.ts";
import type { Resolve } from "./names.ts";
import { hostNameservers } from "./nameservers.ts";
import { createSlotPool } from "./pool.ts";
import { createSlot, destroySlots, enslave, existingSlots, namespaceSlots } from "./slots.ts";
import { parseGuestSubnet, slotCount, slotOfAddress } from "./subnet.ts";
import { createUpkeep } from "./upkeep.ts";

export interface EmbeddedNetworkOptions {
  hostId: string;
  places: Places;
  log: Logger;
  clock: Clock;
  /** IPv4 network of the guests as the host sees them. */
  subnet?: string;
  /** How many namespaces are made before they are needed. */
  ahead?: number;
  /** Guests' name servers; the host's own where there are none. */
  nameservers?: string[];
  /** TCP port of the metadata listener on the bridge. */
  metadataPort?: number;
  /** Tap owners are this user id plus the slot's number; by default from a range that no distribution gives out. */
  firstOwner?: number;
  /** For tests. */
  commands?: Commands;
  resolve?: Resolve;
  /** Milliseconds between two looks at what was made; 0 for none but before a network is handed out. */
  watchEvery?: number;
  /** A network is looked at before it is handed out where the last look is older than these milliseconds; 25 s unless told. */
  freshFor?: number;
}

/** A little more than the time between two regular looks into the namespaces, so that no guest waits for one. */
const FRESH = 25_000;

/** Networks of namespaces and nftables rules on this host, with nothing but `ip` and `nft`. Needs root. */
export function createEmbeddedNetwork(options: EmbeddedNetworkOptions): Network {
  const { log, clock, commands = hostCommands } = options;
  const subnet = parseGuestSubnet(options.subnet ?? "10.201.0.0/24");
  const { metadataPort = 1780, firstOwner = 1_900_000_000 } = options;
  const layout = createLayout({ hostId: options.hostId, subnet, metadataPort, firstOwner });
  const directory = claimDirectory(options.places);
  const { resolve, watchEvery, ahead = 4, freshFor = FRESH } = options;
  const rules = createHostRules({
    commands,
    layout,
    clock,
    log,
    forward: enableForwarding,
    resolve,
    watchEvery,
    alongside: lookAround,
  });
  const holders = new Map<number, Claim>();
  /** What slots made ahead are for, as text: the pool of slots tells policies apart by it. */
  let kinds: string[] = [kindOf(rules.policyOf(""))];
  const releasing = new Map<string, Promise<void>>();
  const slots = createSlotPool({
    capacity: slotCount(subnet),
    ahead,
    kinds: () => kinds,
    make: async (number, kind) => {
      await place(number, kind);
      await createSlot(commands, layout, slotOf(layout, number));
      await upkeep.learn(slotOf(layout, number));
      madeAt.set(number, clock.uptime());
    },
    turn: place,
    onError: (error) => log.warn({ reason: describe(error) }, "no network could be made ahead"),
  });
  const upkeep = createUpkeep({
    commands,
    layout,
    log,
    held: () =>
      new Map([...holders].map(([slot, { hex }]) => [slot, hex] as const).filter(([, hex]) => !releasing.has(hex))),
    ready: () => slots.ready(),
    discard,
    lost: (hex, detail) => {
      log.error({ sandbox: hex, detail }, "a guest's network is gone");
      for (const listener of listeners) listener(hex, detail);
    },
  });
  const listeners = new Set<(hex: string, detail: string) => void>();
  let stopMonitor = (): void => undefined;
  let looks = 0;
  /** When the host's rules, and the inside of all networks, were looked at last. */
  let lookedAt = Number.NEGATIVE_INFINITY;
  let lookedInsideAt = Number.NEGATIVE_INFINITY;
  const madeAt = new Map<number, number>();
  let nameservers: string[] = [];
  let listener: MetadataListener | undefined;
  let adopted = false;

  return {
    async check() {
      return checkHost(commands, layout, await findNameservers());
    },

    async allow(egress) {
      await rules.allow(egress);
      const pools = Object.keys(egress.pools ?? {});
      kinds = [...new Set((pools.length === 0 ? [""] : pools).map((pool) => kindOf(rules.policyOf(pool))))];
      if (listener === undefined) return;
      readHolders();
      await placeHolders();
      await slots.refill();
    },

    async prepare(signal) {
      requireRoot();
      for (const name of tidy(directory)) log.warn({ name }, "removed a broken network claim");
      await ensureBridge(commands, layout);
      // Before anything that a second daemon on this host would spoil for the first: only one can listen.
      listener ??= await listen({ host: layout.gateway, port: metadataPort }, guestAt, (error) =>
        log.warn({ reason: describe(error) }, "a guest's metadata connection could not be taken"),
      );
      nameservers = await findNameservers();
      if (nameservers.length === 0) log.warn("guests have no name servers: set network.nameservers");
      const began = clock.uptime();
      readHolders();
      await placeHolders();
      await rules.start(nameservers);
      lookedAt = began;
      if (await enableForwarding()) log.info("IP forwarding of this host was off and is now on");
      await adoptSlots();
      signal.throwIfAborted();
      await slots.refill();
      stopMonitor();
      if (watchEvery !== 0) stopMonitor = watchRemovals(clock, () => void lookAtRules().catch(tell));
    },

    onLost(listener) {
      listeners.add(listener);
    },

    async attach(hex, pool, signal) {
      signal.throwIfAborted();
      requireHex(hex);
      requireListener();
      const held = slotHeldBy(hex);
      if (held !== undefined) return guestNetwork(slotOf(layout, held), nameservers);
      const egress = rules.policyOf(pool);
      for (;;) {
        const number = await slots.take(kindOf(egress));
        if (signal.aborted) slots.putBack(number, kindOf(egress));
        signal.throwIfAborted();
        if (!(await isFit(number))) continue;
        const own: Claim = { slot: number, hex, pool, egress };
        // Lost only to another process of this host; that slot is not ours any more.
        if (!claim(directory, own)) continue;
        holders.set(number, own);
        setImmediate(() => void slots.refill());
        return guestNetwork(slotOf(layout, number), nameservers);
      }
    },

    async find(hex) {
      readHolders();
      const number = slotHeldBy(hex);
      if (number === undefined || !(await namespaceSlots(layout)).has(number)) return undefined;
      return guestNetwork(slotOf(layout, number), listener === undefined ? await findNameservers() : nameservers);
    },

    async release(hex) {
      const running = releasing.get(hex) ?? release(hex).finally(() => releasing.delete(hex));
      releasing.set(hex, running);
      await running;
    },

    async list() {
      readHolders();
      return [...new Set([...holders.values()].map(({ hex }) => hex))];
    },

    async serveMetadata(hex, server: Server) {
      const served = requireListener();
      if (slotHeldBy(hex) === undefined) readHolders();
      if (slotHeldBy(hex) === undefined) {
        throw new FireteactError("NETWORK_NOT_ATTACHED", `the guest ${hex} has no network`);
      }
      const stop = served.serve(hex, server);
      return () => Promise.resolve(stop());
    },

    async close({ remove }) {
      stopMonitor();
      const unused = await slots.close();
      await rules.stop();
      await listener?.close();
      listener = undefined;
      await destroySlots(
        commands,
        layout,
        unused.map((number) => slotOf(layout, number)),
      );
      readHolders();
      if (!remove || holders.size > 0) return;
      await removeBridge(commands);
      await rules.remove();
    },
  };

  /** What the rules' regular look takes along: each second time it goes into the namespaces. */
  async function lookAround(): Promise<void> {
    if (listener === undefined) return;
    readHolders();
    const began = clock.uptime();
    const inside = looks++ % 2 === 0;
    await upkeep.look(inside);
    lookedAt = began;
    if (inside) lookedInsideAt = began;
    await slots.refill();
  }

  async function lookAtRules(): Promise<void> {
    const began = clock.uptime();
    await rules.look();
    lookedAt = began;
  }

  /** Nobody gets a slot that another program has damaged, or one on a host whose rules are gone. */
  async function isFit(number: number): Promise<boolean> {
    const isFresh = (at: number) => clock.uptime() - at < freshFor;
    const [isWhole] = await Promise.all([
      isFresh(Math.max(lookedInsideAt, madeAt.get(number) ?? lookedInsideAt)) || upkeep.isWhole(slotOf(layout, number)),
      isFresh(lookedAt) || lookAtRules(),
    ]);
    if (isWhole) return true;
    log.warn({ slot: number }, "another program damaged a network that was made ahead: it is made anew");
    await destroySlots(commands, layout, [slotOf(layout, number)]);
    free(number);
    return false;
  }

  function tell(error: unknown): void {
    // Until they are, nobody is handed a network.
    lookedAt = Number.NEGATIVE_INFINITY;
    log.warn({ reason: describe(error) }, "network rules could not be put back yet");
  }

  async function discard(number: number): Promise<void> {
    if (!slots.withdraw(number)) return;
    await destroySlots(commands, layout, [slotOf(layout, number)]);
    free(number);
  }

  async function findNameservers(): Promise<string[]> {
    return options.nameservers?.length ? options.nameservers : await hostNameservers();
  }

  async function release(hex: string): Promise<void> {
    listener?.drop(hex);
    readHolders();
    const held = [...holders].filter(([, holder]) => holder.hex === hex).map(([number]) => slotOf(layout, number));
    await destroySlots(commands, layout, held);
    for (const { number } of held) {
      unclaim(directory, number);
      holders.delete(number);
      free(number);
    }
    // Only where slots are made ahead at all: another process may release what it will never replace.
    if (held.length > 0 && listener !== undefined) setImmediate(() => void slots.refill());
  }

  /** Keeps the slots that guests hold, and removes all others: what a crash left half made or not handed out. */
  async function adoptSlots(): Promise<void> {
    readHolders();
    const held = [...holders.keys()].map((number) => slotOf(layout, number));
    // A bridge that was made anew has lost its ports.
    await commands.ipForce(held.flatMap(({ port }) => enslave(port)));
    if (adopted) return;
    const leftover = [...(await existingSlots(commands, layout))].filter((number) => !holders.has(number));
    await destroySlots(
      commands,
      layout,
      leftover.map((number): Slot => slotOf(layout, number)),
    );
    if (leftover.length > 0) log.info({ slots: leftover.length }, "removed networks that no guest holds");
    adopted = true;
  }

  /** What the claims say now: another process of this host may have attached or released. */
  function readHolders(): void {
    const before = [...holders.keys()];
    holders.clear();
    for (const found of readClaims(directory)) {
      holders.set(found.slot, found);
      slots.reserve(found.slot);
    }
    for (const number of before) if (!holders.has(number)) free(number);
  }

  /** Puts every guest under the policy that its pool has now. */
  async function placeHolders(): Promise<void> {
    const all = [...holders.values()];
    await Promise.all(
      all.map(({ slot, pool, egress }) => rules.place(slotOf(layout, slot).address, rules.policyOf(pool, egress))),
    );
  }

  async function place(number: number, kind: string): Promise<void> {
    await rules.place(slotOf(layout, number).address, JSON.parse(kind) as EgressPolicy);
  }

  function free(number: number): void {
    rules.forget(slotOf(layout, number).address);
    slots.free(number);
  }

  function requireListener(): MetadataListener {
    if (listener !== undefined) return listener;
    throw new FireteactError("NETWORK_NOT_PREPARED", "the networks of this host are not prepared", {
      hint: "prepare must have succeeded first; see why it did not",
    });
  }

  function slotHeldBy(hex: string): number | undefined {
    for (const [number, holder] of holders) if (holder.hex === hex) return number;
    return undefined;
  }

  function guestAt(address: string): string | undefined {
    const number = slotOfAddress(subnet, address);
    return number === undefined ? undefined : holders.get(number)?.hex;
  }
}

const kindOf = (policy: EgressPolicy): string => JSON.stringify(policy);

function requireHex(hex: string): void {
  if (!/^[0-9a-f]{24}$/.test(hex)) throw new TypeError(`"${hex}" is no guest's hex`);
}
