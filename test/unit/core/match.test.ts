import { describe, expect, it } from "vitest";
import { accepts, covers, labelName, rankPools, unknownLabels } from "../../../src/core/match.ts";
import { pool, T } from "./build.ts";

const wanting = (...labels: string[]) => ({ targets: new Set([T]), labels });

describe("labels", () => {
  it.each([
    ["linux", "linux"],
    ["linux:host", "linux"],
    ["linux:docker://node:24", "linux"],
    ["", ""],
  ])("%s is matched as %s", (label, name) => {
    expect(labelName(label)).toBe(name);
  });

  it.each<[string[], string[], boolean]>([
    [["linux", "big"], ["linux"], true],
    [["linux", "big"], ["big", "linux"], true],
    [["linux"], ["linux", "big"], false],
    [["linux"], ["Linux"], false],
    [["linux:host"], ["linux"], true],
    [["linux"], ["linux:host"], true],
    [["linux"], ["linux", "linux"], true],
    [["linux"], [], true],
    [[], ["linux"], false],
  ])("%j covers %j: %s", (offered, asked, expected) => {
    expect(covers(offered, asked)).toBe(expected);
  });
});

describe("accepting a job", () => {
  it("takes the same target, and no other", () => {
    expect(accepts(pool(), wanting("linux"))).toBe(true);
    expect(accepts(pool("a", { target: "https://forge.test#org:acme" }), wanting("linux"))).toBe(false);
  });
  it.each([
    ["firecracker", true],
    ["qemu", true],
    ["fake", true],
    ["native", false],
  ] as const)("takes a job without labels: %s %s", (driver, expected) => {
    expect(accepts(pool("a", { driver }), wanting())).toBe(expected);
  });
});

describe("ranking pools", () => {
  const names = (pools: ReturnType<typeof pool>[], ...labels: string[]) =>
    rankPools(pools, wanting(...labels)).map(({ name }) => name);

  it("prefers the fewest labels beyond the job's, then the order of the configuration", () => {
    const pools = [
      pool("three", { order: 0, labels: ["linux", "big", "gpu"] }),
      pool("later", { order: 2 }),
      pool("sooner", { order: 1 }),
      pool("other", { order: 3, labels: ["arm"] }),
    ];
    expect(names(pools, "linux")).toEqual(["sooner", "later", "three"]);
    expect(names(pools, "linux", "gpu")).toEqual(["three"]);
  });
  it("counts a label once, however it is written", () => {
    const pools = [
      pool("twice", { order: 1, labels: ["linux", "linux:host"] }),
      pool("two", { order: 0, labels: ["linux", "x"] }),
    ];
    expect(names(pools, "linux")).toEqual(["twice", "two"]);
  });
  it("goes by the order of the configuration alone for a job without labels", () => {
    const pools = [pool("big", { order: 0, labels: ["a", "b"] }), pool("small", { order: 1, labels: ["a"] })];
    expect(names(pools)).toEqual(["big", "small"]);
  });
});

it("names the labels that no pool at the job's target offers", () => {
  const pools = [pool("a"), pool("b", { labels: ["arm"], target: "https://other.test#instance" })];
  expect(unknownLabels(pools, wanting("linux", "arm", "Linux"))).toEqual(["arm", "Linux"]);
});
