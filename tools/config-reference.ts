// Writes docs/configuration.md from the schema. `npm run docs`; a test checks that the file is up to date.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { configSchema } from "../src/config/schema.ts";
import { root } from "./toolchain.mjs";

interface Schema {
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
}

const HEAD = `# Configuration reference

Made from the schema by \`npm run docs\`; \`fireteact config schema\` prints the schema itself, which editors use for
completion. [compatibility.md](compatibility.md) says how a file of the original is read. Durations are written \`90s\`,
\`15m\`, \`3h10m\`. \`\${NAME}\` in a value is replaced from the environment.

| key | type | default | meaning |
| --- | --- | --- | --- |
`;

export function configReference(): string {
  return `${HEAD}${rows(configSchema(), "").join("\n")}\n`;
}

function rows(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const own = path === "" ? name : `${path}.${name}`;
    const needed = schema.required?.includes(name) ?? false;
    // An alias of a block that stands above; its keys are the same.
    if (own === "forge") return [row(own, { ...property, properties: {} }, needed)];
    const inner = property.type === "array" ? rows(property.items ?? {}, `${own}[]`) : rows(property, own);
    return [row(own, property, needed), ...inner];
  });
}

function row(key: string, schema: Schema, needed: boolean): string {
  const meaning = (schema.description ?? "").replaceAll("|", "\\|");
  return `| \`${key}\` | ${typeOf(schema)} | ${needed ? "**needed**" : valueOf(schema.default)} | ${meaning} |`;
}

function typeOf(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${String(word)}\``).join(", ");
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array")
    return `list of ${schema.items?.type === "object" ? "blocks" : typeOf(schema.items ?? {})}`;
  if (schema.type === "object") return "block";
  return [schema.type ?? "text"].flat().join(" or ").replace("string", "text").replace("boolean", "true, false");
}

function valueOf(value: unknown): string {
  if (value === undefined || (typeof value === "object" && Object.keys(value ?? {}).length === 0)) return "";
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

if (process.argv[1]?.endsWith("config-reference.ts")) {
  writeFileSync(join(root, "docs", "configuration.md"), configReference());
}
