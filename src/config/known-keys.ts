import { nearest } from "../base/suggest.ts";
import { type Path, quote } from "./problems.ts";
import { configSchema } from "./schema.ts";

interface SchemaNode {
  description?: string;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
}

/** Keys of the original program's file. A file with no others is treated as one of the original's. */
const ORIGINAL_KEYS = new Set(
  [
    "server server.address server.metricsAddress logLevel",
    "gitea gitea.instanceURL gitea.apiToken gitea.apiTokenFile gitea.runnerScope gitea.runnerOwner gitea.runnerRepo",
    "pools pools.name pools.maxRunners pools.minRunners",
    "pools.runner pools.runner.name pools.runner.labels pools.runner.image pools.runner.imagePullPolicy",
    "pools.firecracker pools.firecracker.binaryPath pools.firecracker.memSizeMib pools.firecracker.vcpuCount",
    "pools.firecracker.kernelArgs pools.firecracker.kernelPath pools.firecracker.metadata",
    "containerd containerd.address containerd.snapshotter cni cni.confDir cni.binDir",
  ].flatMap((line) => line.split(" ")),
);

let cached: SchemaNode | undefined;
const root = (): SchemaNode => (cached ??= configSchema());

/** Whether the file uses any key that the original program did not have. Unknown keys count as neither. */
export function hasNewKey(value: unknown): boolean {
  return presentKeys(value, root(), "").some((key) => !ORIGINAL_KEYS.has(key));
}

function presentKeys(value: unknown, schema: SchemaNode, prefix: string): string[] {
  if (Array.isArray(value))
    return value.flatMap((item) => (schema.items ? presentKeys(item, schema.items, prefix) : []));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    if (!Object.hasOwn(value, key)) return [];
    const path = prefix === "" ? key : `${prefix}.${key}`;
    return [path, ...presentKeys((value as Record<string, unknown>)[key], inner, path)];
  });
}

/** What to say about a key that does not exist at this place. */
export function unknownKey(parent: Path, key: string): string {
  const allowed = Object.keys(schemaAt(parent)?.properties ?? {});
  const meant = nearest(key, allowed);
  if (meant !== undefined) return `unknown key; did you mean ${meant}?`;
  const elsewhere = placesOf(key, root(), "");
  if (elsewhere.length > 0) return `unknown key here; it belongs into ${elsewhere.slice(0, 3).join(" or ")}`;
  const quoted = /^[\w-]{1,64}$/.test(key) ? "" : ` ${quote(key)}`;
  return `unknown key${quoted}; allowed here: ${allowed.join(", ") || "none"}`;
}

/** The description of a key, for a message that it is missing. */
export function describeKey(path: Path): string | undefined {
  return schemaAt(path)?.description;
}

function schemaAt(path: Path): SchemaNode | undefined {
  let node: SchemaNode | undefined = root();
  for (const part of path) node = typeof part === "number" ? node?.items : ownProperty(node?.properties, part);
  return node;
}

function ownProperty(properties: Record<string, SchemaNode> | undefined, key: string): SchemaNode | undefined {
  return properties !== undefined && Object.hasOwn(properties, key) ? properties[key] : undefined;
}

/** The blocks that have a key of this name. */
function placesOf(key: string, schema: SchemaNode, prefix: string): string[] {
  const here = ownProperty(schema.properties, key) === undefined ? [] : [prefix === "" ? "the top level" : prefix];
  const inside = Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    return inner.items?.properties ? placesOf(key, inner.items, `${path}[]`) : placesOf(key, inner, path);
  });
  return [...here, ...inside];
}
