import { describe, expect, it } from "vitest";
import { createOpenings } from "../../../src/network/embedded/openings.ts";

const MINUTE = 60_000;
const forge = { allow: [{ host: "forge.test", port: 443 }] };

function names(table: Record<string, string[]>): (host: string) => Promise<string[]> {
  return async (host) => table[host] ?? Promise.reject(new Error("ENOTFOUND"));
}

describe("what guests may always reach", () => {
  it("is every address of the name, once and in order", async () => {
    const openings = createOpenings(names({ "forge.test": ["192.0.2.2", "192.0.2.1", "192.0.2.2"] }));
    expect(await openings.resolve(forge, 0)).toEqual({
      endpoints: [
        { address: "192.0.2.1", port: 443 },
        { address: "192.0.2.2", port: 443 },
      ],
      problems: [],
    });
  });

  it("keeps an address for ten minutes after the name stopped having it", async () => {
    const table = { "forge.test": ["192.0.2.1"] };
    const openings = createOpenings(names(table));
    await openings.resolve(forge, 0);
    table["forge.test"] = ["192.0.2.2"];
    const addresses = async (uptime: number): Promise<string[]> =>
      (await openings.resolve(forge, uptime)).endpoints.map(({ address }) => address);
    expect(await addresses(MINUTE)).toEqual(["192.0.2.1", "192.0.2.2"]);
    expect(await addresses(10 * MINUTE)).toEqual(["192.0.2.1", "192.0.2.2"]);
    expect(await addresses(10 * MINUTE + 1)).toEqual(["192.0.2.2"]);
  });

  it("stays as it was while the name cannot be looked up, however long that lasts", async () => {
    const table: Record<string, string[]> = { "forge.test": ["192.0.2.1"] };
    const openings = createOpenings(names(table));
    await openings.resolve(forge, 0);
    delete table["forge.test"];
    for (let minute = 1; minute < 60; minute++) {
      expect(await openings.resolve(forge, minute * MINUTE)).toEqual({
        endpoints: [{ address: "192.0.2.1", port: 443 }],
        problems: ['"forge.test" has no address now (ENOTFOUND)'],
      });
    }
  });

  it("forgets at once what is not wanted any more", async () => {
    const openings = createOpenings(names({ "forge.test": ["192.0.2.1"], "other.test": ["192.0.2.9"] }));
    await openings.resolve({ allow: [...forge.allow, { host: "other.test", port: 80 }] }, 0);
    expect((await openings.resolve(forge, 1)).endpoints).toEqual([{ address: "192.0.2.1", port: 443 }]);
    const otherPort = { allow: [{ host: "forge.test", port: 8443 }] };
    expect((await openings.resolve(otherPort, 2)).endpoints).toEqual([{ address: "192.0.2.1", port: 8443 }]);
  });

  it("is never a loopback address, which is said", async () => {
    const openings = createOpenings(names({ localhost: ["127.0.0.1"] }));
    const resolution = await openings.resolve({ allow: [{ host: "localhost", port: 3000 }] }, 0);
    expect(resolution.endpoints).toEqual([]);
    expect(resolution.problems).toEqual(['"localhost" is a loopback address of this host, which guests cannot reach']);
  });

  it("takes addresses as they are", async () => {
    const openings = createOpenings();
    expect((await openings.resolve({ allow: [{ host: "192.0.2.1", port: 1 }] }, 0)).endpoints).toEqual([
      { address: "192.0.2.1", port: 1 },
    ]);
  });
});
