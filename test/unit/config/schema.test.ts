import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { loadConfig } from "../../../src/config/load.ts";
import { configSchema } from "../../../src/config/schema.ts";
import { workspace } from "./workspace.ts";

const directory = join(import.meta.dirname, "../../../packaging/examples");
const examples = readdirSync(directory).filter((name) => name.endsWith(".yaml"));
const schema = configSchema();

interface Node {
  description?: string;
  properties?: Record<string, Node>;
  items?: Node;
  additionalProperties?: unknown;
}

describe.each(examples)("the example %s", (name) => {
  const text = readFileSync(join(directory, name), "utf8");
  it("loads", () => {
    const secrets = { token: "a", "api-token": "b", "release-token": "c", "webhook-secret": "d" };
    const place = workspace({ ...secrets, "ca.pem": "-----BEGIN CERTIFICATE-----\n" });
    const file = join(workspace({ "c.yaml": text.replaceAll("/etc/fireteact", place) }), "c.yaml");
    const { settings, warnings } = loadConfig(file, {});
    expect(settings.pools.length).toBeGreaterThan(0);
    if (name !== "original.yaml") expect(warnings).toEqual([]);
  });
  it("fits the JSON Schema", () => {
    expect(z.fromJSONSchema(schema).safeParse(parse(text, { merge: true })).error?.issues).toBeUndefined();
  });
});

describe("the JSON Schema", () => {
  it("refuses what the loader refuses", () => {
    const check = z.fromJSONSchema(schema);
    expect(check.safeParse({ pools: [{ name: "a", colour: 1 }] }).success).toBe(false);
    expect(check.safeParse({ pools: [{ name: "a b" }] }).success).toBe(false);
    expect(check.safeParse({ pools: [{}] }).success).toBe(false);
    expect(check.safeParse({ pools: [{ name: "a" }] }).success).toBe(true);
  });
  it("is plain JSON", () => {
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
  });
  it("describes every key, and closes every map", () => {
    const missing: string[] = [];
    walk(schema, "", (path, node) => {
      if (path !== "" && node.description === undefined) missing.push(path);
      if (node.properties !== undefined && node.additionalProperties !== false) missing.push(`${path} is open`);
    });
    expect(missing).toEqual([]);
  });
});

function walk(node: Node, path: string, visit: (path: string, node: Node) => void): void {
  visit(path, node);
  for (const [key, inner] of Object.entries(node.properties ?? {}))
    walk(inner, path === "" ? key : `${path}.${key}`, visit);
  for (const [key, inner] of Object.entries(node.items?.properties ?? {})) walk(inner, `${path}[].${key}`, visit);
}
