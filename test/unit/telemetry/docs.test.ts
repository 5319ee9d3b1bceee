import { readFileSync } from "node:fs";
import { Registry } from "@prometheus-io/client";
import { describe, expect, it } from "vitest";
import { defineMetrics } from "../../../src/telemetry/definitions.ts";

/** Rows as docs/metrics.md has to have them. */
function definedRows(): string[] {
  const registry = new Registry();
  defineMetrics(registry);
  return registry.getMetricsAsArray().map((metric) => {
    const { name, help, labelNames } = metric as unknown as { name: string; help: string; labelNames: string[] };
    const labels = labelNames.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${metric.constructor.name.toLowerCase()} | ${labels} | ${help.replace(/\.$/, "")} |`;
  });
}

describe("docs/metrics.md", () => {
  it("lists exactly the metrics that there are", () => {
    const text = readFileSync(new URL("../../../docs/metrics.md", import.meta.url), "utf8");
    const rows = text.split("\n").filter((line) => line.startsWith("| `fireteact_") && line.split(" | ").length === 4);
    expect(rows).toEqual(definedRows());
  });
});
