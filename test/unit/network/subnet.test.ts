import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatCidr,
  gatewayAddress,
  overlaps,
  parseCidr,
  parseGuestSubnet,
  slotAddress,
  slotCount,
  slotOfAddress,
} from "../../../src/network/embedded/subnet.ts";

const cidr = fc
  .tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 16, max: 29 }))
  .map(([number, prefix]) => {
    const address = [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".");
    return parseGuestSubnet(`${address}/${prefix}`);
  });

describe("guests' addresses", () => {
  it("follow the gateway's", () => {
    const subnet = parseGuestSubnet("10.201.0.0/24");
    expect(formatCidr(subnet)).toBe("10.201.0.0/24");
    expect(gatewayAddress(subnet)).toBe("10.201.0.1");
    expect(slotCount(subnet)).toBe(253);
    expect(slotAddress(subnet, 0)).toBe("10.201.0.2");
    expect(slotAddress(subnet, 252)).toBe("10.201.0.254");
  });

  it("lie in the subnet, are never its first two or its last, and lead back to their slot", () => {
    fc.assert(
      fc.property(cidr, fc.nat(), (subnet, number) => {
        const slot = number % slotCount(subnet);
        const address = slotAddress(subnet, slot);
        const end = parseCidr(`${address}/32`);
        expect(end !== undefined && overlaps(end, subnet)).toBe(true);
        expect(end?.base).not.toBe(subnet.base + 2 ** (32 - subnet.prefix) - 1);
        expect(address).not.toBe(gatewayAddress(subnet));
        expect(slotOfAddress(subnet, address)).toBe(slot);
      }),
    );
  });

  it("of no guest lead to no slot", () => {
    const subnet = parseGuestSubnet("10.201.0.0/24");
    for (const address of ["10.201.0.0", "10.201.0.1", "10.201.0.255", "10.201.1.2", "10.200.255.2", "::1", "x", ""]) {
      expect(slotOfAddress(subnet, address)).toBeUndefined();
    }
  });

  it("are at most as many as a bridge has ports", () => {
    expect(slotCount(parseGuestSubnet("10.201.0.0/16"))).toBe(1000);
  });
});

describe("networks", () => {
  it.each([
    ["10.201.0.77/24", "10.201.0.0/24"],
    ["192.0.2.1", "192.0.2.1/32"],
    ["255.255.255.255/0", "0.0.0.0/0"],
  ])("%s is read as %s", (text, expected) => {
    const parsed = parseCidr(text);
    expect(parsed && formatCidr(parsed)).toBe(expected);
  });

  it.each(["default", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/8/8", "::/0", "10.0.0.0/-1", ""])('"%s" is none', (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  it.each(["10.0.0.0/8", "10.0.0.0/30", "fd00::/64", "guests"])('"%s" is no subnet for guests', (text) => {
    expect(() => parseGuestSubnet(text)).toThrow(`"${text}" cannot be the guests' subnet`);
  });

  it.each([
    ["10.0.0.0/8", "10.201.0.0/24", true],
    ["10.201.0.64/28", "10.201.0.0/24", true],
    ["10.201.1.0/24", "10.201.0.0/24", false],
    ["10.200.0.0/16", "10.201.0.0/24", false],
  ])("%s and %s overlap: %s", (a, b, expected) => {
    const [first, second] = [parseGuestSubnet("10.201.0.0/24"), parseCidr(a)];
    expect(formatCidr(first)).toBe(b);
    expect(second && overlaps(first, second)).toBe(expected);
    expect(second && overlaps(second, first)).toBe(expected);
  });
});
