import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { DEFAULT_EGRESS, type EgressPolicy } from "../../../src/core/settings.ts";
import type { Commands } from "../../../src/network/embedded/commands.ts";
import { createHostRules, type HostRules } from "../../../src/network/embedded/host-rules.ts";
import { createLayout } from "../../../src/network/embedded/layout.ts";
import { splitGuests } from "../../../src/network/embedded/policy-rules.ts";
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
          const [first] = ruleset.split("\n");
          const added = /^add element inet fireteact guests_(\d+) \{ ([\d.]+) \}$/.exec(first ?? "");
          if (added === null && !/^(?:add|delete) element/.test(first ?? "")) world.present = ruleset;
          const empty = `set guests_${added?.[1]} {\n    type ipv4_addr\n`;
          world.present = world.present.replace(empty, `${empty}    elements = { ${added?.[2]} }\n`);
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

  it("put guests under their policies with one transaction for all that wait, and no new rules", async () => {
    const world = setUp();
    const closed: EgressPolicy = { reach: "allow-list", allow: [], rates: {} };
    await world.rules.allow({ allow: [], pools: { closed, usual: DEFAULT_EGRESS } });
    await world.rules.place("10.201.0.2", closed);
    expect(world.applied).toEqual([]);
    await world.rules.start([]);
    expect(splitGuests(world.applied[0] ?? "").guests).toEqual(new Map([["10.201.0.2", 0]]));
    await Promise.all(["10.201.0.3", "10.201.0.4"].map((address) => world.rules.place(address, DEFAULT_EGRESS)));
    await world.rules.place("10.201.0.4", DEFAULT_EGRESS);
    expect(world.applied.slice(1)).toEqual([
      "add element inet fireteact guests_1 { 10.201.0.3 }\nadd element inet fireteact guests_1 { 10.201.0.4 }",
    ]);
    world.rules.forget("10.201.0.3");
    await world.rules.place("10.201.0.2", DEFAULT_EGRESS);
    expect(world.applied[2]?.split("\n")).toEqual([
      "delete element inet fireteact guests_0 { 10.201.0.2 }",
      "add element inet fireteact guests_1 { 10.201.0.2 }",
      "delete element inet fireteact guests_1 { 10.201.0.3 }",
    ]);
  });

  it("are made anew where a guest was taken out of its policy by another program", async () => {
    const world = setUp();
    await world.rules.start([]);
    await world.rules.place("10.201.0.2", DEFAULT_EGRESS);
    expect(splitGuests(world.present).guests.size).toBe(1);
    world.present = world.present.replace("10.201.0.2 }", "10.201.0.5 }");
    await world.tick();
    expect(splitGuests(world.present).guests).toEqual(new Map([["10.201.0.2", 0]]));
    expect(world.log.join()).toContain("are put back");
  });

  it("change with the addresses of a policy's names, at the next look", async () => {
    const world = setUp();
    await world.rules.allow({
      allow: [],
      pools: { closed: { reach: "allow-list", allow: [{ host: "a.test" }], rates: {} } },
    });
    world.addresses = ["203.0.113.1"];
    await world.rules.start([]);
    expect(world.applied.at(-1)).toContain("ip daddr { 203.0.113.1/32 } accept");
    world.addresses = ["203.0.113.2"];
    await world.tick();
    expect(world.applied.at(-1)).toContain("ip daddr { 203.0.113.1/32, 203.0.113.2/32 } accept");
  });
});
