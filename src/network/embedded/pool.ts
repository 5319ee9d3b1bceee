import { FireteactError } from "../../base/errors.ts";

export interface SlotPoolOptions {
  /** How many slots there can be. */
  capacity: number;
  /** How many are made ahead of each kind. */
  ahead: number;
  /** The kinds that are handed out now. */
  kinds: () => readonly string[];
  make: (slot: number, kind: string) => Promise<void>;
  /** Makes a slot that is there another kind. */
  turn: (slot: number, kind: string) => Promise<void>;
  /** Called when making one ahead failed; the next hand-out tries again and reports it. */
  onError: (error: unknown) => void;
}

/**
 * Slots made before they are needed, of the kind they are needed in: to hand one out nothing has to be done. Numbers go round, so that an address rests as long as possible before it is
 * another guest's.
 */
export interface SlotPool {
  /** Hands out a ready slot, or makes one. Rejects with `NETWORK_EXHAUSTED`. */
  take(kind: string): Promise<number>;
  /** Puts back a slot that was taken and not used. */
  putBack(slot: number, kind: string): void;
  /** Slots that wait to be taken. */
  ready(): readonly number[];
  /** Takes a slot out that waits to be taken; false when it does not. It stays in use until it is freed. */
  withdraw(slot: number): boolean;
  /** Marks a slot as in use that somebody else made. */
  reserve(slot: number): void;
  /** The slot is gone and may be made anew. */
  free(slot: number): void;
  /** Makes slots until enough are ready, in the background or awaited. */
  refill(): Promise<void>;
  /** Stops making slots, and returns those that nobody took. */
  close(): Promise<number[]>;
}

interface Ready {
  slot: number;
  kind: string;
}

export function createSlotPool({ capacity, ahead, kinds, make, turn, onError }: SlotPoolOptions): SlotPool {
  const used = new Set<number>();
  const ready: Ready[] = [];
  let next = 0;
  let refilling: Promise<void> | undefined;
  const closing = new AbortController();

  return {
    async take(kind) {
      // The last ones may be on their way.
      if (isFull() && !ready.some((slot) => slot.kind === kind)) await refilling;
      // Nobody is refused while any slot is ready.
      return takeOut((own) => own.kind === kind) ?? (await obtain(kind, (own) => isFull() || isStale(own)));
    },
    putBack: (slot, kind) => void ready.unshift({ slot, kind }),
    ready: () => ready.map(({ slot }) => slot),
    withdraw: (slot) => takeOut((own) => own.slot === slot) !== undefined,
    reserve: (slot) => void used.add(slot),
    free: (slot) => void used.delete(slot),
    async refill() {
      refilling ??= fill().finally(() => {
        refilling = undefined;
      });
      await refilling;
    },
    async close() {
      closing.abort();
      await refilling;
      return ready.splice(0).map(({ slot }) => slot);
    },
  };

  async function fill(): Promise<void> {
    try {
      for (let kind = lacking(); kind !== undefined; kind = lacking()) {
        if (isFull() && !ready.some(isStale)) return;
        ready.push({ slot: await obtain(kind, isStale), kind });
      }
    } catch (error) {
      onError(error);
    }
  }

  function lacking(): string | undefined {
    if (closing.signal.aborted) return undefined;
    return kinds().find((kind) => ready.filter((slot) => slot.kind === kind).length < ahead);
  }

  /** One that is ready and fits, made the kind that is wanted; else a new one. */
  async function obtain(kind: string, fits: (own: Ready) => boolean): Promise<number> {
    const slot = takeOut(fits);
    if (slot === undefined) return await makeOne(kind);
    try {
      await turn(slot, kind);
      return slot;
    } catch (error) {
      ready.push({ slot, kind: "" });
      throw error;
    }
  }

  function isFull(): boolean {
    return used.size >= capacity;
  }

  /** Of a kind that is not handed out any more. */
  function isStale(own: Ready): boolean {
    return !kinds().includes(own.kind);
  }

  function takeOut(fits: (own: Ready) => boolean): number | undefined {
    const index = ready.findIndex(fits);
    return index < 0 ? undefined : ready.splice(index, 1)[0]?.slot;
  }

  async function makeOne(kind: string): Promise<number> {
    const slot = unusedSlot();
    used.add(slot);
    try {
      await make(slot, kind);
      return slot;
    } catch (error) {
      used.delete(slot);
      throw error;
    }
  }

  function unusedSlot(): number {
    for (let tried = 0; tried < capacity; tried++) {
      const slot = next;
      next = (next + 1) % capacity;
      if (!used.has(slot)) return slot;
    }
    throw new FireteactError("NETWORK_EXHAUSTED", `all ${capacity} networks for guests are in use`, {
      hint: "lower maxRunners of the pools, or drain this host and set network.subnet to a larger network",
      facts: { capacity },
    });
  }
}
