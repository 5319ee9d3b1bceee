import { FireteactError } from "../../base/errors.ts";

export interface SlotPoolOptions {
  /** How many slots there can be. */
  capacity: number;
  /** How many are made ahead. */
  ahead: number;
  make: (slot: number) => Promise<void>;
  /** Called when making one ahead failed; the next hand-out tries again and reports it. */
  onError: (error: unknown) => void;
}

/**
 * Slots made before they are needed. Numbers go round, so that an address rests as long as possible before it is
 * another guest's.
 */
export interface SlotPool {
  /** Hands out a ready slot, or makes one. Rejects with `NETWORK_EXHAUSTED`. */
  take(): Promise<number>;
  /** Puts back a slot that was taken and not used. */
  putBack(slot: number): void;
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

export function createSlotPool({ capacity, ahead, make, onError }: SlotPoolOptions): SlotPool {
  const used = new Set<number>();
  const ready: number[] = [];
  let next = 0;
  let refilling: Promise<void> | undefined;
  const closing = new AbortController();

  return {
    async take() {
      // The last ones may be on their way.
      if (ready.length === 0 && used.size >= capacity) await refilling;
      return ready.shift() ?? (await makeOne());
    },
    putBack: (slot) => void ready.unshift(slot),
    ready: () => ready,
    withdraw(slot) {
      const index = ready.indexOf(slot);
      if (index >= 0) ready.splice(index, 1);
      return index >= 0;
    },
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
      return ready.splice(0);
    },
  };

  async function fill(): Promise<void> {
    while (!closing.signal.aborted && ready.length < ahead && used.size < capacity) {
      try {
        ready.push(await makeOne());
      } catch (error) {
        onError(error);
        return;
      }
    }
  }

  async function makeOne(): Promise<number> {
    const slot = unusedSlot();
    used.add(slot);
    try {
      await make(slot);
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
