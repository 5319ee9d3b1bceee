import { describe, expect, it } from "vitest";
import type { Figure } from "../../../bench/harness.ts";
import { keptResults, readDocument, renewedDocument, verdictOf } from "../../../bench/report.ts";
import { summarise } from "../../../bench/statistics.ts";

const figure = (samples: number[]): Figure => ({ name: "f", unit: "ms", samples, aims: [] });

describe("docs/performance.md", () => {
  it("says what the kept results say", () => {
    const document = readDocument();
    expect(renewedDocument(document, keptResults())).toBe(document);
  });

  it("is made of whole runs whose summaries are those of their samples", () => {
    for (const { quick, figures } of keptResults()) {
      expect(quick).toBe(false);
      for (const { samples, summary } of figures) expect(summarise(samples)).toEqual(summary);
    }
  });

  it("is refused without its marks", () => {
    expect(() => renewedDocument("# Performance\n", [])).toThrow("lacks the marks");
  });
});

describe("a summary", () => {
  it("is made of samples, by nearest rank", () => {
    const samples = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(summarise(samples)).toEqual({ count: 100, min: 1, p50: 50, p90: 90, p99: 99, max: 100 });
    expect(summarise([7])).toEqual({ count: 1, min: 7, p50: 7, p90: 7, p99: 7, max: 7 });
    expect(() => summarise([])).toThrow("without samples");
  });

  it("keeps an aim only below it", () => {
    expect(verdictOf(figure([1, 2, 9]), { statistic: "p50", under: 3 })).toBe("kept");
    expect(verdictOf(figure([1, 3, 9]), { statistic: "p50", under: 3 })).toBe("missed");
    expect(verdictOf(figure([1, 2, 9]), { statistic: "max", under: 3 })).toBe("missed");
  });
});
