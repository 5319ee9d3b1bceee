import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clean, duration, table } from "../../../src/cli/render/table.ts";
import { fill } from "../../../src/cli/render/text.ts";
import { asJson } from "../../../src/cli/report.ts";

const words = fc.array(fc.stringMatching(/^[a-z]{1,20}$/), { minLength: 1, maxLength: 40 });

describe("filled text", () => {
  it("keeps all words, in order, within the width, under the first one", () => {
    fc.assert(
      fc.property(
        words,
        fc.integer({ min: 30, max: 120 }),
        fc.stringMatching(/^ {0,4}[>a-z:]{0,5}$/),
        (list, width, lead) => {
          const lines = fill(lead, list.join(" "), width).split("\n");
          expect(
            lines
              .map((line) => line.slice(lead.length))
              .join(" ")
              .split(" "),
          ).toEqual(list);
          expect(lines.every((line) => line.length <= width)).toBe(true);
          expect(lines.slice(1).every((line) => line.startsWith(" ".repeat(lead.length)))).toBe(true);
        },
      ),
    );
  });

  it("leaves a word that is longer than a line whole, to be copied", () => {
    const url = `https://git.test/${"x".repeat(100)}`;
    expect(fill("> ", `see ${url} there`, 40).split("\n")).toEqual(["> see", `  ${url}`, "  there"]);
  });
});

describe("tables", () => {
  it("fit the width, the widest column giving way", () => {
    const text = table(["A", "B"], [["short", "x".repeat(200)]], 40);
    expect(text.split("\n")).toEqual(["A      B", `short  ${"x".repeat(32)}…`]);
  });

  it("let no cell steer the terminal", () => {
    const cell = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell), { maxLength: 5 }), (rows) => {
        const text = table(["A", "B"], rows);
        expect(text.split("\n")).toHaveLength(rows.length + 1);
        expect(text.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
      }),
    );
    expect(clean("\u001b]0;title\u0007a\r\n\tb\u009b31m")).not.toMatch(/\p{Cc}/u);
  });
});

describe("durations", () => {
  it.each([
    [420, "420 ms"],
    [1_200, "1.2 s"],
    [200_000, "3 m 20 s"],
    [7_500_000, "2 h 5 m"],
    [3_599_900, "60 m 0 s"],
    [99_960, "1 m 40 s"],
    [239_900, "4 m 0 s"],
    [999.7, "1.0 s"],
  ])("%d ms are %s", (milliseconds, text) => {
    expect(duration(milliseconds)).toBe(text);
  });
});

describe("JSON output", () => {
  it("means the same, without a control character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const printed = asJson({ text });
        expect(JSON.parse(printed)).toEqual({ text });
        expect(printed.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});
