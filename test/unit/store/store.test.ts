import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { emptyMemory } from "../../../src/core/plan-types.ts";
import { claimState } from "../../../src/store/claim.ts";
import { openStore } from "../../../src/store/sqlite.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { busy, fresh, NOW, ready, warm } from "../core/build.ts";

const at = (uptime: number): Clock => ({ ...systemClock, uptime: () => uptime, now: () => 5_000 });

function opener(directory: string) {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => lines.push(line) });
  const path = join(directory, "state.db");
  const open = (over: { boot?: string; uptime?: number; historyLimit?: number } = {}) =>
    openStore({
      path,
      log,
      boot: over.boot ?? "boot 1",
      clock: at(over.uptime ?? NOW),
      ...(over.historyLimit === undefined ? {} : { historyLimit: over.historyLimit }),
    });
  return { open, lines, path };
}

describe("the store", () => {
  it("gives back what was saved, whatever order it is closed in", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(busy(1));
    store.saveRunner(warm(2));
    store.setPaused("a", true);
    store.saveMemory({ ...emptyMemory(), suspects: { x: 1 } });
    const intent = store.beginStep("lane", "{}", 7, ready(3));
    store.close();
    const again = open();
    expect(again.runners()).toEqual([busy(1), warm(2), ready(3)]);
    expect(again.pausedPools()).toEqual(["a"]);
    expect(again.loadMemory()?.suspects).toEqual({ x: 1 });
    expect(again.openIntents()).toEqual([{ id: intent, lane: "lane", step: "{}", at: 7 }]);
    again.endStep(intent, busy(3));
    expect(again.openIntents()).toEqual([]);
    expect(again.runners()[2]).toEqual(busy(3));
    again.close();
  });

  it("moves a closed runner into history and erases its secrets, from the file too", () => {
    using directory = temporaryDirectory();
    const { open, path } = opener(directory.path);
    const store = open({ historyLimit: 2 });
    const token = "0123456789abcdef-a-very-secret-token";
    for (const id of [1, 2, 3]) {
      store.saveRunner(fresh(id));
      store.saveSecrets(fresh(id).id, { uuid: "u", token });
      store.closeRunner(fresh(id), id);
    }
    expect(store.runners()).toEqual([]);
    expect(store.secrets(fresh(1).id)).toBeUndefined();
    expect(store.history(10).map(({ closedAt }) => closedAt)).toEqual([3, 2]);
    store.close();
    for (const name of readdirSync(directory.path)) {
      expect(readFileSync(join(directory.path, name)).includes(token)).toBe(false);
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("carries uptimes over to another boot once: no sandbox outlives it, and no deadline is years away", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(busy(1));
    store.saveRunner({ ...ready(2), removal: { reason: "forced", detail: "", since: NOW } });
    store.saveMemory({ ...emptyMemory(), pools: { a: { failures: 1, since: NOW, until: NOW + 1, error: "" } } });
    store.close();
    open({ boot: "boot 2", uptime: 77 }).close();
    // A crash right after the start must not lose what was carried over.
    const later = open({ boot: "boot 2", uptime: 99 });
    const [first, second] = later.runners();
    expect(first).toMatchObject({
      since: 77,
      registration: { phase: "active", row: 1, since: 77 },
      agent: { phase: "busy", since: 77 },
      sandbox: { phase: "exited", since: 77, exit: { reason: "the host was restarted" } },
      given: { since: 77 },
    });
    expect(first?.at).toBe(busy(1).at);
    expect(second?.removal).toMatchObject({ since: 77 });
    expect(later.loadMemory()).toBeUndefined();
    later.close();
  });

  it("leaves a runner alone whose sandbox was gone, or not yet there, before the boot", () => {
    using directory = temporaryDirectory();
    const { open } = opener(directory.path);
    const store = open();
    store.saveRunner(fresh(1));
    store.saveRunner({ ...fresh(2), sandbox: { phase: "gone" } });
    store.close();
    const again = open({ boot: "boot 2", uptime: 77 });
    expect(again.runners().map((runner) => runner.sandbox.phase)).toEqual(["none", "gone"]);
    again.close();
  });

  it("refuses a file of a newer program, and names the copy that this one can read", () => {
    using directory = temporaryDirectory();
    const { open, path } = opener(directory.path);
    open().close();
    const database = new DatabaseSync(path);
    database.exec("PRAGMA user_version = 99");
    database.close();
    expect(() => open()).toThrow(/newer fireteact \(schema 99/);
    expect(existsSync(path)).toBe(true);
  });

  it("sets a damaged file aside with one warning, and begins anew", () => {
    using directory = temporaryDirectory();
    const { open, path, lines } = opener(directory.path);
    open().close();
    copyFileSync(process.execPath, path);
    const store = open();
    expect(store.runners()).toEqual([]);
    store.close();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("set aside");
    expect(readdirSync(directory.path).some((name) => name.startsWith("state.db.broken-"))).toBe(true);
  });
});

describe("the claim on a state directory", () => {
  it("belongs to one process at a time", () => {
    using directory = temporaryDirectory();
    const claim = claimState(directory.path);
    expect(() => claimState(directory.path)).toThrow(/another fireteact works on/);
    claim.release();
    claimState(directory.path).release();
  });
});
