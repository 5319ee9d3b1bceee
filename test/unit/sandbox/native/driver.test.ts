import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../../src/base/clock.ts";
import type { SandboxExit } from "../../../../src/core/types.ts";
import { createNativeDriver } from "../../../../src/sandbox/native/driver.ts";
import { parseAccount } from "../../../../src/sandbox/native/exits.ts";
import { CHANNELS, CREDENTIALS, EXITS, unitName } from "../../../../src/sandbox/native/names.ts";
import { parseUnits, type ServiceManager, type UnitView } from "../../../../src/sandbox/native/systemd.ts";
import { contextOf, HOST_ID, hexOf, specOf } from "../../../support/sandboxes.ts";

/** A service manager that does what it is asked, on directories of its own. */
function host() {
  const root = mkdtempSync(join(tmpdir(), "fireteact-native-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const at = (...parts: string[]) => join(root, ...parts);
  for (const directory of [CREDENTIALS, CHANNELS, EXITS]) mkdirSync(at(directory), { recursive: true });
  const units = new Map<string, UnitView>();
  const asked: string[] = [];
  const seen: string[] = [];
  const refusals = new Set<string>();
  const ask = (verb: string, unit: string) => {
    asked.push(`${verb} ${unit}`);
    if (refusals.has(verb)) throw new Error(`${verb} failed`);
  };
  const partsOf = (unit: string) => {
    const [, pool = "", hex = ""] = /^fireteact-native-(.*)@(.*)\.service$/.exec(unit) ?? [];
    return { pool, hex };
  };
  const manager: ServiceManager = {
    start: async (unit) => {
      const { pool, hex } = partsOf(unit);
      // Read by the service manager before the unit's program is started.
      seen.push(readFileSync(at(CREDENTIALS, hex), "utf8"), String(statSync(at(CREDENTIALS, hex)).mode & 0o777));
      ask("start", unit);
      units.set(unit, { pool, hex, isActive: true });
    },
    stop: async (unit) => {
      ask("stop", unit);
      units.delete(unit);
      writeFileSync(at(EXITS, partsOf(unit).hex), "signal killed KILL 2048 3000\n");
    },
    units: async (pattern) => {
      const hex = /@([0-9a-f]+)\.service$/.exec(pattern ?? "")?.[1];
      return [...units.values()].filter((view) => hex === undefined || view.hex === hex);
    },
    journal: async () => "the agent's own log\n",
  };
  const open = () => {
    const driver = createNativeDriver({ hostId: HOST_ID, clock: systemClock, manager, root });
    onTestFinished(() => driver.close());
    return driver;
  };
  /** The unit ends by itself and writes its account down. */
  const end = (hex: string, account?: string) => {
    if (account !== undefined) writeFileSync(at(EXITS, hex), account);
    units.delete(unitName("p", hex));
  };
  return { at, open, end, asked, seen, refusals, units };
}

const HEX = hexOf(1);
const UNIT = unitName("p", HEX);
const spec = { ...specOf(HEX), metadata: { latest: { secret: "s3cret" } } };

describe("a native sandbox", () => {
  it("is started with its credential in a file for one reader, which is gone when it runs", async () => {
    const { open, seen, asked, at } = host();
    await open().create(spec, contextOf());
    expect(asked).toEqual([`start ${UNIT}`]);
    expect(seen).toEqual(['{"latest":{"secret":"s3cret"}}', String(0o600)]);
    expect(existsSync(at(CREDENTIALS, HEX))).toBe(false);
  });

  it("leaves nothing behind when it cannot be started", async () => {
    const { open, refusals, at } = host();
    refusals.add("start");
    const driver = open();
    await expect(driver.create(spec, contextOf())).rejects.toThrow("start failed");
    expect(existsSync(at(CREDENTIALS, HEX))).toBe(false);
    expect(await driver.list()).toEqual([]);
  });

  it("is found by another process with nothing but its unit", async () => {
    const { open, units } = host();
    await open().create(spec, contextOf());
    units.set(UNIT, { pool: "p", hex: HEX, isActive: true, startedAt: 5_000 });
    expect(await open().list()).toEqual([
      { hex: HEX, pool: "p", runnerId: `p-${HEX}`, state: "running", startedAt: 5_000 },
    ]);
    expect(await open().list((hex) => hex === HEX)).toEqual([]);
  });

  it("is stopped, twice with success, and its account is not taken for another that ended", async () => {
    const { open, asked } = host();
    const driver = open();
    await driver.create(spec, contextOf());
    await driver.remove(HEX, contextOf());
    expect(asked).toEqual([`start ${UNIT}`, `stop ${UNIT}`]);
    expect(await driver.list()).toEqual([]);
    expect(driver.usage?.(HEX)).toEqual({ memoryPeakBytes: 2_048, cpuMs: 3 });
    await driver.remove(HEX, contextOf());
    expect(asked).toHaveLength(2);
    expect(await open().list()).toEqual([]);
  });

  it("tells how it ended, and what it used, also to a process that did not start it", async () => {
    const { open, end } = host();
    await open().create(spec, contextOf());
    const driver = open();
    const exit = new Promise<SandboxExit>((resolve) => driver.watch(HEX, resolve));
    end(HEX, "oom-kill killed KILL 536870912 1500000\n");
    expect(await exit).toMatchObject({
      code: null,
      signal: "SIGKILL",
      reason: "its job needed more memory than memoryMib allows",
    });
    expect((await driver.list()).map(({ state }) => state)).toEqual(["exited"]);
    await driver.remove(HEX, contextOf());
    expect(driver.usage?.(HEX)).toEqual({ memoryPeakBytes: 536_870_912, cpuMs: 1_500 });
  });

  it("whose account is missing has ended all the same", async () => {
    const { open, end } = host();
    const driver = open();
    await driver.create(spec, contextOf());
    end(HEX);
    const exit = await new Promise<SandboxExit>((resolve) => driver.watch(HEX, resolve));
    expect(exit).toMatchObject({ code: null, signal: null, reason: "its unit is gone and left no account" });
  });

  it("is not told of after watching was stopped", async () => {
    const { open, end } = host();
    const driver = open();
    await driver.create(spec, contextOf());
    await driver.create({ ...spec, hex: hexOf(2) }, contextOf());
    const told: number[] = [];
    driver.watch(HEX, () => told.push(1))();
    const other = new Promise<SandboxExit>((resolve) => driver.watch(hexOf(2), resolve));
    end(HEX);
    end(hexOf(2));
    await other;
    expect(told).toEqual([]);
  });

  it("of another host is left alone", async () => {
    const { open, units } = host();
    const foreign = `ffffff${HEX.slice(6)}`;
    units.set(unitName("p", foreign), { pool: "p", hex: foreign, isActive: true });
    expect(await open().list()).toEqual([]);
  });

  it("that was never started leaves a credential, which is found and removed", async () => {
    const { open, at } = host();
    writeFileSync(at(CREDENTIALS, HEX), "{}");
    const driver = open();
    expect((await driver.list()).map(({ hex, state }) => [hex, state])).toEqual([[HEX, "partial"]]);
    await driver.remove(HEX, contextOf());
    expect(await driver.list()).toEqual([]);
  });

  it("is reached by its socket, and by nothing else of that name", async () => {
    const { open, at } = host();
    const driver = open();
    const path = at(CHANNELS, HEX, "agent.sock");
    mkdirSync(dirname(path));
    const signal = AbortSignal.timeout(10_000);
    await expect(driver.dial(HEX, signal)).rejects.toThrow("there is no socket");
    writeFileSync(path, "");
    await expect(driver.dial(HEX, signal)).rejects.toThrow("there is no socket");
    rmSync(path);
    const server = createServer((socket) => socket.end("hello"));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const stream = await driver.dial(HEX, signal);
    expect(String(await stream.take(1).toArray())).toBe("hello");
    server.close();
  });
});

describe("what systemd says", () => {
  it("names units in any state, and others are left out", () => {
    const text = [
      `Id=${UNIT}\nActiveState=active\nExecMainStartTimestampMonotonic=1234567\n`,
      `Id=${unitName("a-b", hexOf(2))}\nActiveState=deactivating\nExecMainStartTimestampMonotonic=0\n`,
      `Id=${unitName("c", hexOf(3))}\nActiveState=failed\n`,
      "Id=nix-daemon.service\nActiveState=active\n",
      "",
    ].join("\n");
    expect(parseUnits(text)).toEqual([
      { pool: "p", hex: HEX, isActive: true, startedAt: 1_234 },
      { pool: "a-b", hex: hexOf(2), isActive: true },
      { pool: "c", hex: hexOf(3), isActive: false },
    ]);
    expect(parseUnits("")).toEqual([]);
  });

  it.each([
    ["success exited 0 1024 2000\n", { code: 0, signal: null, at: 7 }, { memoryPeakBytes: 1_024, cpuMs: 2 }],
    ["exit-code exited 1 0 0\n", { code: 1, signal: null, at: 7 }, { cpuMs: 0 }],
    ["signal killed TERM 0 0\n", { code: null, signal: "SIGTERM", at: 7 }, { cpuMs: 0 }],
    [
      "timeout killed KILL 0 0\n",
      { code: null, signal: "SIGKILL", reason: "it ran longer than its unit may", at: 7 },
      { cpuMs: 0 },
    ],
    ["watchdog none none 0 0\n", { code: null, signal: null, reason: "systemd says: watchdog", at: 7 }, { cpuMs: 0 }],
  ])("%j is an account", (text, exit, usage) => {
    expect(parseAccount(text, 7)).toEqual({ exit, usage });
  });

  it.each(["", "success exited 0 1 2", "success exited 0 1\n", "a b c d e\n", "success exited 0 -1 2\n"])(
    "%j is none",
    (text) => expect(parseAccount(text, 7)).toBeUndefined(),
  );
});
