import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
} from "yaml";
import { expand } from "./environment.ts";
import { type Finding, isSecret, type Path, type Position } from "./problems.ts";
import { syntaxErrors } from "./syntax.ts";

/** A parsed file that still knows where everything stood. */
export interface ConfigDocument {
  /** Maps without prototype, lists and scalars. What is empty (`null` or `""`) is undefined: it counts as not set. */
  value: unknown;
  /** Why the text cannot be read at all; `value` is undefined then. */
  syntax: Finding[];
  /** Duplicate keys, odd keys, wrong variables: found on the way, the rest can be checked. */
  findings: Finding[];
  /** How an unquoted number, `true` or `false` was written. */
  source(path: Path): string | undefined;
  /** Position of a single value; else of its key, or of what stands nearest around it. */
  locate(path: Path): Position;
  locateKey(path: Path): Position;
}

/** Bounds for what aliases expand to; no sensible file comes near. */
const MOST_NODES = 200_000;
const DEEPEST = 64;

/** Reads YAML and replaces variables. Never throws, whatever the text is. */
export function parseConfig(text: string, env: NodeJS.ProcessEnv): ConfigDocument {
  const lines = new LineCounter();
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const failed = (message: string, offset = 0): ConfigDocument => ({
    value: undefined,
    syntax: [{ path: [], position: position(offset), message }],
    findings: [],
    source: () => undefined,
    locate: () => ({ line: 1, column: 1 }),
    locateKey: () => ({ line: 1, column: 1 }),
  });
  try {
    // The library compares every key with every other, which takes minutes in a hostile file: `Reader` finds duplicates.
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false,
      logLevel: "error",
    });
    if (document.errors.length > 0) return { ...failed(""), syntax: syntaxErrors(document.errors, text, position) };
    const reader = new Reader(env, position);
    const value = reader.read(document.contents, [], "plain");
    return {
      value,
      syntax: [],
      findings: reader.findings,
      source: (path) => reader.sources.get(JSON.stringify(path)),
      locate: (path) => position(reader.values.get(JSON.stringify(path)) ?? reader.offset(path)),
      locateKey: (path) => position(reader.offset(path)),
    };
  } catch (error) {
    if (error instanceof TooMuch) return failed(error.message, error.offset);
    throw error;
  }
}

class TooMuch extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** `plain`: variables are replaced and empty values dropped; `kept`: variables are replaced; `raw`: nothing is touched. */
type Mode = "plain" | "kept" | "raw";

class Reader {
  readonly findings: Finding[] = [];
  readonly sources = new Map<string, string>();
  /** Where single values stand that are not empty. */
  readonly values = new Map<string, number>();
  private readonly offsets = new Map<string, number>();
  private readonly env: NodeJS.ProcessEnv;
  private readonly position: (offset: number) => Position;
  private readonly anchors = new Map<string, Node>();
  private nodes = 0;

  constructor(env: NodeJS.ProcessEnv, position: (offset: number) => Position) {
    this.env = env;
    this.position = position;
  }

  offset(path: Path): number {
    for (let length = path.length; length > 0; length--) {
      const offset = this.offsets.get(JSON.stringify(path.slice(0, length)));
      if (offset !== undefined) return offset;
    }
    return 0;
  }

  read(node: unknown, path: Path, mode: Mode): unknown {
    const target = this.resolve(node, path);
    const offset = (target as Node | null | undefined)?.range?.[0] ?? this.offset(path);
    if (++this.nodes > MOST_NODES) throw new TooMuch("the file expands to too many values", offset);
    if (path.length > DEEPEST) throw new TooMuch("nested too deeply", offset);
    if (isMap(target)) return this.readMap(target.items, path, mode);
    if (isSeq(target)) {
      return target.items.map((item, index) => {
        this.note([...path, index], (item as Node | null)?.range?.[0]);
        return this.read(item, [...path, index], mode);
      });
    }
    return isScalar(target) ? this.readScalar(target, path, mode) : undefined;
  }

  private readMap(pairs: Pair[], path: Path, mode: Mode): Record<string, unknown> {
    const result = Object.create(null) as Record<string, unknown>;
    const merged: Node[] = [];
    const seen = new Set<string>();
    for (const pair of pairs) {
      const offset = (pair.key as Node | null)?.range?.[0] ?? this.offset(path);
      const key = keyText(this.resolve(pair.key, path));
      if (key === undefined) {
        this.found(path, offset, "a key must be a single word");
      } else if (key === "<<" && (pair.key as Scalar).type === "PLAIN" && mode !== "raw") {
        merged.push(pair.value as Node);
      } else if (seen.has(key)) {
        this.found([...path, key], offset, "this key is there twice; keep one");
      } else {
        seen.add(key);
        this.note([...path, key], offset);
        const value = this.read(pair.value, [...path, key], innerMode(key, mode));
        result[key] = mode === "plain" && (value === null || value === "") ? undefined : value;
      }
    }
    for (const source of merged) this.merge(source, result, path, mode);
    return result;
  }

  /** `<<: *defaults` or a list of such: what is there already wins. */
  private merge(node: Node, into: Record<string, unknown>, path: Path, mode: Mode): void {
    const source = this.resolve(node, path);
    if (++this.nodes > MOST_NODES || path.length > DEEPEST) throw new TooMuch("the file expands to too many values", 0);
    if (isSeq(source)) {
      for (const item of source.items) this.merge(item as Node, into, [...path, "<<"], mode);
      return;
    }
    if (!isMap(source)) {
      this.found(path, node?.range?.[0] ?? this.offset(path), "<< must name a map");
      return;
    }
    const place = path.filter((part) => part !== "<<");
    const known = new Set(Object.keys(into));
    const fresh = source.items.filter((pair) => !known.has(keyText(pair.key) ?? ""));
    Object.assign(into, this.readMap(fresh, place, mode));
  }

  /** Anchors stand before their aliases, and the file is read in its order. */
  private resolve(node: unknown, path: Path): unknown {
    if (isAlias(node)) {
      const target = this.anchors.get(node.source);
      if (target === undefined) {
        this.found(path, node.range?.[0] ?? 0, "this alias names no anchor that stands before it");
      }
      return target;
    }
    if (isNode(node) && node.anchor !== undefined) this.anchors.set(node.anchor, node);
    return node;
  }

  private readScalar(scalar: Scalar, path: Path, mode: Mode): unknown {
    const { value } = scalar;
    const plain = scalar.type === "PLAIN";
    const offset = scalar.range?.[0] ?? this.offset(path);
    if (value !== null) this.values.set(JSON.stringify(path), offset);
    if (mode === "raw") return value;
    const text = plain ? (scalar.source ?? "") : typeof value === "string" ? value : undefined;
    if (text?.includes("$")) {
      const expansion = expand(text, this.env, isSecret(path, text));
      for (const problem of expansion.problems) this.found(path, offset, problem);
      return plain ? this.typed(expansion.text, path) : expansion.text;
    }
    if (plain && (typeof value === "number" || typeof value === "boolean")) this.noteSource(path, text ?? "");
    return value;
  }

  /** What an unquoted text means: a variable may hold a number. */
  private typed(text: string, path: Path): unknown {
    if (!/^(?:[-+]?\d{1,15}|true|false)$/.test(text)) return text;
    this.noteSource(path, text);
    return text === "true" || text === "false" ? text === "true" : Number(text);
  }

  private note(path: Path, offset: number | undefined): void {
    if (offset !== undefined) this.offsets.set(JSON.stringify(path), offset);
  }

  private noteSource(path: Path, text: string): void {
    this.sources.set(JSON.stringify(path), text);
  }

  private found(path: Path, offset: number, message: string): void {
    this.findings.push({ path, position: this.position(offset), message });
  }
}

/** Cloud-init scripts have dollars of their own, and an empty variable of the guest's environment means something. */
function innerMode(key: string, mode: Mode): Mode {
  if (mode === "raw" || key === "metadata" || key === "user-data") return "raw";
  return mode === "plain" && key !== "env" ? "plain" : "kept";
}

function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined;
  if (typeof key.value === "string") return key.value;
  return key.source !== undefined && key.source !== "" ? key.source : undefined;
}
