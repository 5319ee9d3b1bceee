import { describe, expect, it } from "vitest";
import { createNames } from "../../../src/network/embedded/names.ts";

const MINUTE = 60_000;
const never = (): undefined => undefined;

function table(entries: Record<string, string[]>): (host: string) => Promise<string[]> {
  return async (host) => entries[host] ?? Promise.reject(new Error("ENOTFOUND"));
}

describe("addresses of names", () => {
  it("are all that the name has, once and in order", async () => {
    const names = createNames(table({ "forge.test": ["192.0.2.2", "192.0.2.1", "192.0.2.2"] }), never);
    expect(await names.lookUp(["forge.test", "forge.test"], 0)).toEqual({
      addresses: new Map([["forge.test", ["192.0.2.1", "192.0.2.2"]]]),
      problems: [],
    });
  });

  it("stay for ten minutes after the name stopped having them", async () => {
    const entries = { "forge.test": ["192.0.2.1"] };
    const names = createNames(table(entries), never);
    await names.lookUp(["forge.test"], 0);
    entries["forge.test"] = ["192.0.2.2"];
    const at = async (uptime: number) => (await names.lookUp(["forge.test"], uptime)).addresses.get("forge.test");
    expect(await at(MINUTE)).toEqual(["192.0.2.1", "192.0.2.2"]);
    expect(await at(10 * MINUTE)).toEqual(["192.0.2.1", "192.0.2.2"]);
    expect(await at(10 * MINUTE + 1)).toEqual(["192.0.2.2"]);
  });

  it("stay while the name cannot be looked up, however long that lasts", async () => {
    const entries: Record<string, string[]> = { "forge.test": ["192.0.2.1"] };
    const names = createNames(table(entries), never);
    await names.lookUp(["forge.test"], 0);
    delete entries["forge.test"];
    for (let minute = 1; minute < 60; minute++) {
      expect(await names.lookUp(["forge.test"], minute * MINUTE)).toEqual({
        addresses: new Map([["forge.test", ["192.0.2.1"]]]),
        problems: ['"forge.test" has no address now (ENOTFOUND)'],
      });
    }
  });

  it("are forgotten at once where the name is not wanted any more", async () => {
    const names = createNames(table({ "a.test": ["192.0.2.1"], "b.test": ["192.0.2.9"] }), never);
    await names.lookUp(["a.test", "b.test"], 0);
    expect([...(await names.lookUp(["a.test"], 1)).addresses.keys()]).toEqual(["a.test"]);
  });

  it("that are refused are not opened, and why is said once", async () => {
    const names = createNames(table({ "a.test": ["10.0.0.1", "10.0.0.2", "192.0.2.1"] }), (address) =>
      address.startsWith("10.") ? "is inside" : undefined,
    );
    expect(await names.lookUp(["a.test"], 0)).toEqual({
      addresses: new Map([["a.test", ["192.0.2.1"]]]),
      problems: ['"a.test" is inside'],
    });
  });

  it("are at most 256 of one name, those that were seen last", async () => {
    const entries: Record<string, string[]> = {};
    const names = createNames(table(entries), never);
    for (let round = 0; round < 4; round++) {
      entries["a.test"] = Array.from({ length: 100 }, (_, number) => `192.0.${round}.${number}`);
      await names.lookUp(["a.test"], round);
    }
    const found = (await names.lookUp(["a.test"], 4)).addresses.get("a.test") ?? [];
    expect(found).toHaveLength(256);
    expect(found.filter((address) => address.startsWith("192.0.3."))).toHaveLength(100);
    expect(found.filter((address) => address.startsWith("192.0.0."))).toHaveLength(0);
  });

  it("that are no IPv4 addresses are not opened, and addresses stand for themselves", async () => {
    const names = createNames(table({ "a.test": ["::1", "not one; drop table"] }), never);
    expect(await names.lookUp(["a.test", "192.0.2.7"], 0)).toEqual({
      addresses: new Map([
        ["a.test", []],
        ["192.0.2.7", ["192.0.2.7"]],
      ]),
      problems: ['"a.test" is no IPv4 address'],
    });
  });
});
