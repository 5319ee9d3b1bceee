import { describe, expect, it } from "vitest";
import { DEFAULT_EGRESS, type EgressPolicy } from "../../../src/core/settings.ts";
import { createWanted } from "../../../src/network/embedded/egress.ts";
import { createLayout } from "../../../src/network/embedded/layout.ts";
import { type PolicyRules, policyRules, splitGuests } from "../../../src/network/embedded/policy-rules.ts";
import { hostRules, isPublic } from "../../../src/network/embedded/rules.ts";
import { parseGuestSubnet } from "../../../src/network/embedded/subnet.ts";

const list = (...allow: EgressPolicy["allow"]): EgressPolicy => ({ reach: "allow-list", allow, rates: {} });
const zone =
  (names: Record<string, string[]>) =>
  async (host: string): Promise<string[]> =>
    names[host] ?? Promise.reject(new Error("ENOTFOUND"));

describe("what guests of a pool may reach", () => {
  it("is what the configuration says now, and for a pool that left it what its guests came with", () => {
    const wanted = createWanted();
    const closed = list({ host: "10.0.0.1" });
    wanted.replace({ allow: [], pools: { closed } });
    expect(wanted.policyOf("closed", DEFAULT_EGRESS)).toBe(closed);
    expect(wanted.policyOf("gone", closed)).toBe(closed);
    expect(wanted.policyOf("unknown")).toBe(DEFAULT_EGRESS);
    expect(wanted.policyOf("constructor")).toBe(DEFAULT_EGRESS);
  });

  it("has the addresses of names, and networks as they are written", async () => {
    const wanted = createWanted(zone({ "a.test": ["203.0.113.9", "203.0.113.8"] }));
    const policy = list({ host: "a.test", ports: [443, 443] }, { host: "10.1.0.0/16" }, { host: "gone.test" });
    wanted.replace({ allow: [], pools: { closed: policy } });
    expect(await wanted.lookUp(0, true)).toEqual(['"gone.test" has no address now (ENOTFOUND)']);
    expect(wanted.rulesOf(policy).allow).toEqual([
      { networks: ["203.0.113.8", "203.0.113.9"], ports: [443, 443] },
      { networks: ["10.1.0.0/16"] },
    ]);
  });

  it("is never inside of this network because a name says so, but for the forge", async () => {
    const wanted = createWanted(zone({ "evil.test": ["10.0.0.5", "169.254.169.254", "168.63.129.16"] }));
    const policy = list({ host: "evil.test" });
    wanted.replace({ allow: [{ host: "evil.test", port: 443 }], pools: { closed: policy } });
    expect(await wanted.lookUp(0, true)).toContain(
      '"evil.test" has the private address 10.0.0.5: allow the address itself',
    );
    expect(wanted.rulesOf(policy).allow).toEqual([]);
    expect(wanted.endpoints()).toContainEqual({ address: "10.0.0.5", port: 443 });
  });

  it("is looked up for policies each time, for the forge when told", async () => {
    const asked: string[] = [];
    const wanted = createWanted(async (host) => {
      asked.push(host);
      return ["203.0.113.1"];
    });
    wanted.replace({ allow: [{ host: "forge.test", port: 80 }], pools: { closed: list({ host: "a.test" }) } });
    await wanted.lookUp(0, true);
    await wanted.lookUp(10_000, false);
    expect(asked.sort()).toEqual(["a.test", "a.test", "forge.test"]);
    expect(wanted.endpoints()).toEqual([{ address: "203.0.113.1", port: 80 }]);
  });
});

it.each([
  ["8.8.8.8", true],
  ["10.1.2.3", false],
  ["100.64.0.1", false],
  ["169.254.169.254", false],
  ["100.100.100.200", false],
  ["168.63.129.16", false],
  ["172.32.0.1", true],
  ["not one", false],
])("%s is public: %s", (address, answer) => expect(isPublic(address)).toBe(answer));

describe("the rules of policies", () => {
  const layout = createLayout({
    hostId: "abcdef",
    subnet: parseGuestSubnet("10.201.0.0/29"),
    metadataPort: 1780,
    firstOwner: 1_900_000_000,
  });
  const policy = (over: Partial<PolicyRules>): PolicyRules => ({
    reach: "allow-list",
    allow: [],
    rates: {},
    guests: [],
    ...over,
  });

  it("have no network twice in one set, which nft refuses", () => {
    const networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "192.0.2.1", "192.0.2.0/31"];
    expect(policyRules([policy({ allow: [{ networks, ports: [80, 90] }] })])).toContain(
      "meta l4proto { tcp, udp } ip daddr { 10.0.0.0/8, 192.0.2.0/31 } th dport 80-90 accept",
    );
  });

  it("open ports of this host only by exact address and port", () => {
    const allow = [{ networks: ["10.0.0.0/8"], ports: [80, 80] as [number, number] }, { networks: ["10.0.0.1"] }];
    expect(policyRules([policy({ allow })])).not.toContain("chain here_0");
    const exact = [{ networks: ["10.0.0.1"], ports: [80, 80] as [number, number] }];
    expect(policyRules([policy({ allow: exact })])).toContain("chain here_0");
  });

  it("let a guest under none of them reach nothing but what all may", () => {
    const rules = hostRules(layout, { endpoints: [], nameservers: [], policies: [] });
    expect(/chain from_guest \{([^}]*)\}/.exec(rules)?.[1]?.trim().split("\n").at(-1)?.trim()).toBe("drop");
  });

  it("are told apart from who is under them, in what we write and in what nft lists", () => {
    const rules = (guests: string[][]): string =>
      hostRules(layout, { endpoints: [], nameservers: [], policies: guests.map((own) => policy({ guests: own })) });
    const full = splitGuests(rules([["10.201.0.2", "10.201.0.3"], [], ["10.201.0.4"]]));
    expect([...full.guests]).toEqual([
      ["10.201.0.2", 0],
      ["10.201.0.3", 0],
      ["10.201.0.4", 2],
    ]);
    expect(full.rest).toBe(splitGuests(rules([[], [], []])).rest);
    const listed = "\tset guests_1 {\n\t\ttype ipv4_addr\n\t\telements = { 10.201.0.2,\n\t\t\t     10.201.0.3 }\n\t}\n";
    expect([...splitGuests(listed).guests.values()]).toEqual([1, 1]);
    expect(splitGuests(listed).rest).toBe(splitGuests("\tset guests_1 {\n\t\ttype ipv4_addr\n\t}\n").rest);
  });
});
