import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { Commands } from "../../../src/network/embedded/commands.ts";
import { createHostRules, type HostRules } from "../../../src/network/embedded/host-rules.ts";
import { createLayout } from "../../../src/network/embedded/layout.ts";
import { parseGuestSubnet } from "../../../src/network/embedded/subnet.ts";

const layout = createLayout({
  hostId: "abcdef",
  subnet: parseGuestSubnet("10.201.0.0/29"),
  metadataPort: 1780,
  firstOwner: 1_900_000_000,
});
const FORGE = { allow: [{ host: "forge.test", port: 443 }] };

interface World {
  rules: HostRules;
  applied: string[];
  log: string[];
  addresses: string[] | Error;
  /** What the host has of them. */
  present: string;
  /** Lets time pass up to the next timer, and waits for what it does. */
  tick(): Promise<void>;
  timers(): number;
}

function setUp(): World {
  let uptime = 0;
  let due: { at: number; action: () => void }[] = [];
  const clock: Clock = {
    ...systemClock,
    uptime: () => uptime,
    after: (milliseconds, action) => {
      const timer = { at: uptime + milliseconds, action };
      due.push(timer);
      return { cancel: () => void (due = due.filter((other) => other !== timer)) };
    },
  };
  const world: World = {
    applied: [],
    log: [],
    addresses: ["192.0.2.1"],
    present: "",
    rules: createHostRules({
      layout,
      clock,
      log: createLogger("warn", { write: (line) => void world.log.push(line) }),
      forward: async () => false,
      resolve: async () => (world.addresses instanceof Error ? Promise.reject(world.addresses) : world.addresses),
      commands: {
        nft: async (ruleset: string) => {
          world.applied.push(ruleset);
          world.present = ruleset;
        },
        ourRules: async () => world.present,
      } as unknown as Commands,
    }),
    async tick() {
      const timer = due.shift();
      uptime = timer?.at ?? uptime;
      timer?.action();
      while (due.length === 0) await new Promise(setImmediate);
    },
    timers: () => due.length,
  };
  return world;
}

const openIn = (ruleset: string | undefined): string | undefined =>
  /elements = \{ ([^}]* \. 443) \}/.exec(ruleset ?? "")?.[1];

describe("the host's rules", () => {
  it("are applied when they change, and only then", async () => {
    const world = setUp();
    await world.rules.allow(FORGE);
    expect(world.applied).toEqual([]);
    await world.rules.start(["192.0.2.53"]);
    await world.rules.allow(FORGE);
    expect(world.applied).toHaveLength(1);
    expect(openIn(world.applied[0])).toBe("192.0.2.1 . 443");
    expect(world.applied[0]).toContain("elements = { 192.0.2.53 }");
    for (let count = 0; count < 12; count++) await world.tick();
    expect(world.applied).toHaveLength(1);
  });

  it("follow the forge's name within a minute", async () => {
    const world = setUp();
    await world.rules.allow(FORGE);
    await world.rules.start([]);
    world.addresses = ["192.0.2.2"];
    for (let count = 0; count < 6; count++) await world.tick();
    expect(openIn(world.applied.at(-1))).toBe("192.0.2.1 . 443, 192.0.2.2 . 443");
  });

  it("stay while the name cannot be looked up, which is said once", async () => {
    const world = setUp();
    await world.rules.allow(FORGE);
    await world.rules.start([]);
    world.addresses = new Error("ENOTFOUND");
    for (let count = 0; count < 30; count++) await world.tick();
    expect(world.applied).toHaveLength(1);
    expect(world.log.filter((line) => line.includes("forge.test"))).toHaveLength(1);
  });

  it("come back at the next look when a part of them is gone", async () => {
    const world = setUp();
    await world.rules.start([]);
    world.present = world.present.replace("masquerade", "accept");
    await world.tick();
    expect(world.applied).toHaveLength(2);
    expect(world.applied[1]).toBe(world.applied[0]);
    expect(world.log.join()).toContain("are put back");
  });

  it("are left alone once they are not watched any more", async () => {
    const world = setUp();
    await world.rules.start([]);
    await world.rules.stop();
    expect(world.timers()).toBe(0);
    await world.rules.allow(FORGE);
    expect(world.applied).toHaveLength(1);
  });
});
