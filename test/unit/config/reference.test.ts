import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { configReference } from "../../../tools/config-reference.ts";

it("docs/configuration.md is what the schema says (npm run docs)", () => {
  expect(readFileSync("docs/configuration.md", "utf8")).toBe(configReference());
});
