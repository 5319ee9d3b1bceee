import type { MetadataDocument } from "../sandbox/port.ts";

export type Format = "json" | "text";

export type Found = { kind: "value"; text: string } | { kind: "absent" } | { kind: "unsupported" };

/** What the tree holds at a path, in the form the guest asked for. */
export function lookUp(document: MetadataDocument, path: string, format: Format): Found {
  const value = valueAt(document, path);
  if (value === undefined) return { kind: "absent" };
  if (format === "json") return { kind: "value", text: compactJson(value) };
  const text = plainText(value);
  return text === undefined ? { kind: "unsupported" } : { kind: "value", text };
}

/** JSON without white space and with sorted keys: the form whose size is limited. */
export function compactJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => compactJson(item ?? null)).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = sortedEntries(value).map(([key, member]) => `${JSON.stringify(key)}:${compactJson(member)}`);
  return `{${members.join(",")}}`;
}

/** Walks the tree as a JSON pointer does, after repeated slashes and one at the end are taken away. */
function valueAt(document: MetadataDocument, path: string): unknown {
  const pointer = path.replaceAll(/\/+/g, "/").replace(/\/$/, "");
  if (pointer === "") return document;
  return pointer
    .slice(1)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<unknown>(childOf, document);
}

function childOf(value: unknown, key: string): unknown {
  if (Array.isArray(value)) return /^(0|[1-9]\d{0,8})$/.test(key) ? (value as unknown[])[Number(key)] : undefined;
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** Only strings and lists of keys have a text form. */
function plainText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!isObject(value)) return undefined;
  return sortedEntries(value)
    .map(([key, member]) => (isObject(member) ? `${key}/` : key))
    .join("\n");
}

/** Members that have a value, in the order of the keys' UTF-8 bytes. */
function sortedEntries(value: MetadataDocument): [string, unknown][] {
  return Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

const isObject = (value: unknown): value is MetadataDocument =>
  typeof value === "object" && value !== null && !Array.isArray(value);
