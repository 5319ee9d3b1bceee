import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseDestination } from "../../../src/config/destination.ts";
import { errorsOf, FORGE, load, POOL } from "./workspace.ts";

describe("a destination", () => {
  it.each([
    ["example.com", { host: "example.com" }],
    ["Example.COM.:443", { host: "example.com", ports: [443, 443] }],
    ["10.1.2.3:8000-8100", { host: "10.1.2.3", ports: [8_000, 8_100] }],
    ["10.1.0.0/16", { host: "10.1.0.0/16" }],
    ["0.0.0.0/0:443", { host: "0.0.0.0/0", ports: [443, 443] }],
    ["example.com:0", undefined],
    ["example.com:9-8", undefined],
    ["example.com:70000", undefined],
    ["10.1.2.3/8", undefined],
    ["256.1.1.1", undefined],
    ["fd00:ec2::254", undefined],
    ["[::1]:80", undefined],
    ["https://example.com", undefined],
    ["a b", undefined],
    ["-a.test", undefined],
    ["1.2.3", undefined],
    ["", undefined],
  ])("%s is read as %j", (text, found) => expect(parseDestination(text)).toEqual(found));

  it("is a word that can stand in rules, whatever the text was", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.domain(), fc.stringMatching(/^[0-9a-z.:;{}/ -]*$/)), (text) => {
        expect(parseDestination(text)?.host ?? "none").toMatch(/^[0-9a-z._/-]+$/);
      }),
    );
  });
});

describe("what a pool's guests reach", () => {
  const egress = (network: string, pool = "") =>
    load(`${FORGE}${network}${POOL.replace("]}}]", `]}${pool}}]`)}`).settings.pools[0]?.egress;

  it("is what the whole file says", () => {
    const network = `network:
  egress: allow-list
  allow: [example.com:443, 10.0.0.0/8]
  rates: {uploadMbit: 10.5, connectionsPerSecond: 50}
`;
    expect(egress(network)).toEqual({
      reach: "allow-list",
      allow: [{ host: "example.com", ports: [443, 443] }, { host: "10.0.0.0/8" }],
      rates: { uploadMbit: 10.5, connectionsPerSecond: 50 },
    });
  });

  it("is the pool's own where it says so, key by key", () => {
    const network =
      "network:\n  egress: open\n  allow: [example.com]\n  rates: {uploadMbit: 10, packetsPerSecond: 99}\n";
    const own = ", network: {allow: [], rates: {uploadMbit: 20}}";
    expect(egress(network, own)).toEqual({ reach: "open", allow: [], rates: { uploadMbit: 20, packetsPerSecond: 99 } });
  });

  it.each([
    ["allow: ['*.example.com']", "which hosts *.example.com stands for no DNS tells"],
    ["allow: ['::1']", "must be a host name, an IPv4 address or an IPv4 network"],
    ["allow: [169.254.169.254]", "no guest reaches them"],
    ["allow: [169.254.0.0/24]", "no guest reaches them"],
    ["allow: [100.100.100.200:80]", "no guest reaches them"],
    ["allow: [localhost:80]", "no guest reaches them"],
    ["egress: everything", "open"],
    ["rates: {uploadMbit: 0}", "0.1"],
  ])("cannot be %s", (line, reason) => {
    expect(errorsOf(`${FORGE}network:\n  ${line}\n${POOL}`)).toEqual([expect.stringContaining(reason)]);
  });
});
