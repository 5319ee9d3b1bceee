import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DEFAULT_EGRESS } from "../../../src/core/settings.ts";
import { claim, claimDirectory, readClaims, tidy, unclaim } from "../../../src/network/embedded/claims.ts";

const A = "abcdef0000000000000000aa";
const B = "abcdef0000000000000000bb";
const own = { pool: "small", egress: DEFAULT_EGRESS };
let run: string;
let directory: string;
beforeEach(() => {
  run = mkdtempSync(join(tmpdir(), "fireteact-claims-"));
  directory = claimDirectory({ state: run, run });
});
afterEach(() => rmSync(run, { recursive: true }));

it("a slot is held by whoever claims it first, until it is given back", () => {
  expect(readClaims(directory)).toEqual([]);
  tidy(directory);
  expect(claim(directory, { slot: 10, hex: A, ...own })).toBe(true);
  expect(claim(directory, { slot: 10, hex: B, ...own })).toBe(false);
  expect(claim(directory, { slot: 9, hex: B, ...own })).toBe(true);
  expect(readClaims(directory)).toEqual([
    { slot: 9, hex: B, ...own },
    { slot: 10, hex: A, ...own },
  ]);
  unclaim(directory, 10);
  unclaim(directory, 10);
  expect(claim(directory, { slot: 10, hex: B, ...own })).toBe(true);
  expect(readdirSync(directory)).toEqual(["10.json", "9.json"]);
});

it("what is no claim is passed over and tidied away", () => {
  tidy(directory);
  claim(directory, { slot: 1, hex: A, ...own });
  const broken: Record<string, string> = {
    "2.json": "",
    "3.json": '{"slot":3}',
    "4.json": JSON.stringify({ slot: 5, hex: A }),
    "5.json": JSON.stringify({ slot: 5, hex: "../../etc" }),
    "6.json": JSON.stringify({ slot: 6, hex: A, egress: { reach: "everything", allow: [], rates: {} } }),
    "x.json": JSON.stringify({ slot: 6, hex: A }),
    ".7.123": JSON.stringify({ slot: 7, hex: A }),
  };
  for (const [name, content] of Object.entries(broken)) writeFileSync(join(directory, name), content);
  expect(readClaims(directory)).toEqual([{ slot: 1, hex: A, ...own }]);
  expect(tidy(directory).sort()).toEqual(["2.json", "3.json", "4.json", "5.json", "6.json", "x.json"]);
  expect(readdirSync(directory)).toEqual(["1.json"]);
});

it("a claim of an older version is one under the policy there was then", () => {
  tidy(directory);
  writeFileSync(join(directory, "3.json"), JSON.stringify({ slot: 3, hex: A }));
  expect(readClaims(directory)).toEqual([{ slot: 3, hex: A, pool: "", egress: DEFAULT_EGRESS }]);
});

it("a claim keeps the whole policy", () => {
  tidy(directory);
  const egress = {
    reach: "allow-list" as const,
    allow: [{ host: "10.1.0.0/16" }, { host: "example.com", ports: [443, 443] as [number, number] }],
    rates: { uploadMbit: 0.5, connectionsPerSecond: 10 },
  };
  claim(directory, { slot: 4, hex: A, pool: "closed", egress });
  expect(readClaims(directory)).toEqual([{ slot: 4, hex: A, pool: "closed", egress }]);
});
