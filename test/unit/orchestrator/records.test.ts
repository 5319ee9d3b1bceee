import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { bootId, systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import type { OrchestratorEvent } from "../../../src/orchestrator/port.ts";
import { createRecords } from "../../../src/orchestrator/records.ts";
import { openStore } from "../../../src/store/sqlite.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { fresh, warm } from "../core/build.ts";

/** Records on a real store, with a second connection that sees only what is committed. */
function recordsIn(directory: string) {
  const path = join(directory, "state.db");
  const store = openStore({ path, clock: systemClock, boot: bootId(), log: silentLogger });
  const failing = { on: false };
  const records = createRecords({
    store: {
      ...store,
      together: (work) =>
        store.together(() => {
          const result = work();
          if (failing.on) throw new Error("the disk is full");
          return result;
        }),
    },
    clock: systemClock,
    log: silentLogger,
  });
  const other = new DatabaseSync(path, { readOnly: true });
  const heard: string[] = [];
  records.subscribe((event: OrchestratorEvent) => {
    if (event.kind === "runner") heard.push(`${event.change} ${event.runner.id}`);
  });
  return {
    records,
    store,
    failing,
    heard,
    stored: () =>
      other
        .prepare("SELECT id FROM runners ORDER BY id")
        .all()
        .map(({ id }) => id),
    intents: () => other.prepare("SELECT lane FROM intents").all().length,
    [Symbol.dispose]: () => {
      other.close();
      store.close();
    },
  };
}

const [one, two] = [fresh(1), warm(2)];

describe("what is recorded together", () => {
  it("is on disk when it is done, not before, and is heard of only then", () => {
    using directory = temporaryDirectory();
    using world = recordsIn(directory.path);
    const { records, store, heard } = world;
    records.together(() => {
      records.add(one);
      records.add(two);
      store.beginStep("lane", "{}", 1);
      records.apply(one.id, { kind: "boot-asked" }, { kind: "register-asked" });
      expect(records.get(one.id)?.sandbox.phase).toBe("starting");
      expect(heard).toEqual([]);
      expect(world.stored()).toEqual([]);
      expect(world.intents()).toBe(0);
    });
    expect(world.stored()).toEqual([one.id, two.id].toSorted());
    expect(world.intents()).toBe(1);
    expect(heard).toEqual([
      `created ${one.id}`,
      `created ${two.id}`,
      `boot-asked ${one.id}`,
      `register-asked ${one.id}`,
    ]);
    const { sandbox, registration } = store.runners().find(({ id }) => id === one.id) ?? one;
    expect([sandbox.phase, registration.phase]).toEqual(["starting", "pending"]);
  });

  it("never happened when it cannot be stored", () => {
    using directory = temporaryDirectory();
    using world = recordsIn(directory.path);
    const { records, store, heard, failing } = world;
    records.add(one);
    heard.length = 0;
    failing.on = true;
    expect(() =>
      records.together(() => {
        records.add(two);
        records.apply(one.id, { kind: "boot-asked" });
        records.close(one.id);
        store.beginStep("lane", "{}", 1);
      }),
    ).toThrow("the disk is full");
    expect(records.all()).toEqual([one]);
    expect(records.byHex(one.hex)).toEqual(one);
    expect(records.byHex(two.hex)).toBeUndefined();
    expect(world.stored()).toEqual([one.id]);
    expect(world.intents()).toBe(0);
    expect(heard).toEqual([]);
    failing.on = false;
    expect(records.apply(one.id, { kind: "boot-asked" })?.sandbox.phase).toBe("starting");
  });

  it("takes along what could not be stored before", () => {
    using directory = temporaryDirectory();
    using world = recordsIn(directory.path);
    const { records, store, heard, failing } = world;
    records.add(one);
    records.add(two);
    heard.length = 0;
    failing.on = true;
    const reason = { kind: "ending", reason: "forced", detail: "" } as const;
    expect(records.applyAnyway(one.id, reason)?.ending?.reason).toBe("forced");
    expect(() => records.apply(two.id, reason)).toThrow("the disk is full");
    expect(heard).toEqual([`ending ${one.id}`]);
    expect(store.runners().map(({ ending }) => ending)).toEqual([undefined, undefined]);
    failing.on = false;
    records.apply(two.id, { kind: "agent-up" }, reason);
    expect(store.runners().map(({ ending }) => ending?.reason)).toEqual(["forced", "forced"]);
  });
});

describe("what is recorded soon", () => {
  it("is one transaction with all of its turn", async () => {
    using directory = temporaryDirectory();
    using world = recordsIn(directory.path);
    const { records, heard } = world;
    const stored = [records.soon(() => records.add(one)), records.soon(() => records.add(two))];
    expect(records.all()).toEqual([]);
    await stored[0];
    expect(world.stored()).toEqual([one.id, two.id].toSorted());
    expect(heard).toEqual([`created ${one.id}`, `created ${two.id}`]);
    await Promise.all(stored);
  });

  it("fails alone", async () => {
    using directory = temporaryDirectory();
    using world = recordsIn(directory.path);
    const { records, store } = world;
    const fails = records.soon(() => {
      records.add(one);
      store.beginStep("lane", "{}", 1);
      throw new Error("no");
    });
    const goes = records.soon(() => records.add(two));
    await expect(fails).rejects.toThrow("no");
    await goes;
    expect(records.all()).toEqual([two]);
    expect(world.stored()).toEqual([two.id]);
    expect(world.intents()).toBe(0);
  });
});
