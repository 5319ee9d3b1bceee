import { describe } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { processes } from "../../base/process.ts";
import { ensureBridge } from "./bridge.ts";
import type { Commands, Interior } from "./commands.ts";
import { hostLinks } from "./host-links.ts";
import { type Layout, type Slot, slotOf, TAP, UPLINK } from "./layout.ts";
import { enslave, makeUplink, renewRules } from "./slots.ts";

/** Sees to it that what was made for guests stays as it was made, whatever other programs do to this host. */
export interface Upkeep {
  /** Remembers how the rules of a slot read that was just made. */
  learn(slot: Slot): Promise<void>;
  /** Looks at the bridge and its ports, with `inside` into the namespaces too, and mends what was taken away. */
  look(inside: boolean): Promise<void>;
  /** Whether the slot may be handed out: all of it is there and its rules are as they were made, or are so again. */
  isWhole(slot: Slot): Promise<boolean>;
}

interface UpkeepDeps {
  commands: Commands;
  layout: Layout;
  log: Logger;
  /** Slots that guests hold, with the guest's hex. */
  held: () => ReadonlyMap<number, string>;
  /** Slots that wait for guests. */
  ready: () => readonly number[];
  /** Takes a slot that nobody holds away, as far as it is there; another is made instead. */
  discard: (number: number) => Promise<void>;
  /** Told once of a guest whose network cannot be mended. */
  lost: (hex: string, detail: string) => void;
}

/** Namespaces looked into with one process. */
const AT_ONCE = 50;

export function createUpkeep(deps: UpkeepDeps): Upkeep {
  const { commands, layout, log, held, ready } = deps;
  /** How the rules inside every namespace read, its own address left out. */
  let rulesOfAll: string | undefined;
  const lost = new Set<string>();

  return {
    async learn(slot) {
      if (rulesOfAll === undefined) rulesOfAll = rulesOf(slot, (await inspect([slot])).get(slot.namespace));
    },

    async look(inside) {
      for (const hex of lost) if (![...held().values()].includes(hex)) lost.delete(hex);
      const mended = await lookOutside();
      if (inside) mended.push(...(await lookInside()));
      if (mended.length > 0) log.warn({ mended }, "another program changed guests' networks: they were put right");
    },

    async isWhole(slot) {
      const [links, interiors] = await Promise.all([hostLinks(commands, slot.port), inspect([slot])]);
      const interior = interiors.get(slot.namespace);
      if (interior === undefined || !isFurnished(interior) || !links.isPort(slot.port)) return false;
      await keepRules(slot, interior);
      return true;
    },
  };

  /** The bridge with its address, and every port in it, isolated. */
  async function lookOutside(): Promise<string[]> {
    const mended: string[] = [];
    let links = await hostLinks(commands);
    if (!links.hasBridge(layout)) {
      await ensureBridge(commands, layout);
      links = await hostLinks(commands);
      mended.push("the bridge");
    }
    const astray = slots().filter(({ port }) => links.has(port) && !links.isPort(port));
    await commands.ipForce(astray.flatMap(({ port }) => enslave(port)));
    mended.push(...astray.map(({ port }) => `the port ${port}`));
    for (const slot of slots().filter(({ port }) => !links.has(port))) mended.push(...(await replacePort(slot)));
    return mended;
  }

  /** A guest's way out is made again around it; a slot without a guest is made anew as a whole. */
  async function replacePort(slot: Slot): Promise<string[]> {
    if (!held().has(slot.number)) {
      if (!ready().includes(slot.number)) return [];
      await deps.discard(slot.number);
      return [`the namespace ${slot.namespace}`];
    }
    return (await tried(slot, () => makeUplink(commands, layout, slot))) ? [`the port ${slot.port}`] : [];
  }

  async function lookInside(): Promise<string[]> {
    const mended: string[] = [];
    const all = slots();
    for (let from = 0; from < all.length; from += AT_ONCE) {
      const some = all.slice(from, from + AT_ONCE);
      const interiors = await inspect(some);
      for (const slot of some) mended.push(...(await mendInside(slot, interiors.get(slot.namespace))));
    }
    return mended;
  }

  async function mendInside(slot: Slot, found: Interior | undefined): Promise<string[]> {
    const hex = held().get(slot.number);
    let interior = found;
    const mended: string[] = [];
    if (hex === undefined) {
      // Handed out or taken away since; the one who did looks after it.
      if (!ready().includes(slot.number)) return [];
      if (interior === undefined || !isFurnished(interior)) {
        await deps.discard(slot.number);
        return [`the namespace ${slot.namespace}`];
      }
    } else if (interior === undefined) {
      if (!(await nameAgain(slot))) {
        lose(hex, slot, `its network namespace ${slot.namespace} was deleted`);
        return [];
      }
      mended.push(`the name ${slot.namespace}`);
      interior = (await inspect([slot])).get(slot.namespace);
    }
    if (hex !== undefined && interior !== undefined && !interior.links.includes(TAP)) {
      lose(hex, slot, `its interface ${TAP} in ${slot.namespace} was deleted`);
      return mended;
    }
    if (interior !== undefined && (await tried(slot, () => keepRules(slot, interior)))) {
      mended.push(`the rules in ${slot.namespace}`);
    }
    return mended;
  }

  /** Puts the rules back where they do not read as they did; says whether it had to. */
  async function keepRules(slot: Slot, interior: Interior): Promise<boolean> {
    if (rulesOf(slot, interior) === rulesOfAll) return false;
    await renewRules(commands, layout, slot);
    return true;
  }

  /** A deleted name leaves the namespace to the processes in it: the monitor's lets it be named again. */
  async function nameAgain(slot: Slot): Promise<boolean> {
    const inside = processes().find((view) => view.uid === slot.owner);
    if (inside === undefined) return false;
    return await commands.ipForce([`netns attach ${slot.namespace} ${inside.pid}`]);
  }

  function lose(hex: string, slot: Slot, detail: string): void {
    // Being released, or taken apart, is not being lost.
    if (held().get(slot.number) !== hex || lost.has(hex)) return;
    lost.add(hex);
    deps.lost(hex, `${detail} by another program`);
  }

  /** One slot that cannot be mended must not keep the others from it. */
  async function tried(slot: Slot, work: () => Promise<boolean | void>): Promise<boolean> {
    try {
      return (await work()) !== false;
    } catch (error) {
      if (held().has(slot.number)) log.warn({ slot: slot.number, reason: describe(error) }, "not put right yet");
      return false;
    }
  }

  function slots(): Slot[] {
    return [...held().keys(), ...ready()].map((number) => slotOf(layout, number));
  }

  async function inspect(some: Slot[]): Promise<Map<string, Interior>> {
    return await commands.inspect(some.map(({ namespace }) => namespace));
  }
}

const isFurnished = ({ links }: Interior): boolean => links.includes(TAP) && links.includes(UPLINK);

/** The rules inside, as they read in every namespace. */
const rulesOf = (slot: Slot, interior: Interior | undefined): string | undefined =>
  interior?.rules.replaceAll(slot.address, "<address>");
