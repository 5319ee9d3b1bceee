import { badImage, tooLarge } from "./errors.ts";
import type { TarEntry } from "./tar-read.ts";

/** A file, link or device; two names of one file are two slots with the same leaf. */
export interface Leaf {
  kind: "leaf";
  entry: TarEntry;
  /** Number of the layer whose archive holds the content. */
  layer: number;
}

export interface Directory {
  kind: "directory";
  /** Absent where no layer says anything of it. */
  entry?: TarEntry;
  children: Map<string, Slot>;
  /** Last layer that removed what lies below. */
  emptied: number;
}

interface Slot {
  /** Layer that put this name here. */
  layer: number;
  node: Leaf | Directory;
}

export interface TreeLimits {
  /** Entries of all layers together. */
  entries: number;
  /** Directories above an entry. */
  depth: number;
  /** Looks at a name, over all: layers can be made so that links lead through links. */
  looks: number;
}

const LIMITS: TreeLimits = { entries: 1_000_000, depth: 512, looks: 50_000_000 };
const MOST_LINKS = 40;
const MOST_COMPONENT = 255;
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** The tree that an image's layers make together, in memory: nothing of it is on the disk while layers are applied. */
export interface Tree {
  root: Directory;
  /** Applies the next entry of a layer; layers are numbered upwards from 0. */
  add(entry: TarEntry, layer: number): void;
  /** What a path leads to, links followed inside the tree. */
  find(path: string): Leaf | Directory | undefined;
}

const directory = (): Directory => ({ kind: "directory", children: new Map(), emptied: -1 });

/**
 * Layers are applied as the image specification says: whiteouts and opaque whiteouts take away what *lower* layers have,
 * wherever in the layer they stand. A link in the middle of a path is followed, always inside the tree; one at its end is
 * replaced. Nothing can lead out: paths with `..` are refused, and a link that climbs above the root stays there.
 */
export function createTree(limits: Partial<TreeLimits> = {}): Tree {
  const most = { ...LIMITS, ...limits };
  const root = directory();
  let entries = 0;
  let looks = 0;

  /** Goes down to a directory, making what is missing where `layer` says for which layer; undefined where it cannot. */
  function walk(parts: readonly string[], layer?: number): Directory[] | undefined {
    const trail = [root];
    const ahead = parts.toReversed();
    let links = 0;
    for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
      if (++looks > most.looks) throw tooLarge("the image's layers are entangled beyond reason");
      if (part === "" || part === ".") continue;
      if (part === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const here = trail.at(-1) ?? root;
      const slot = here.children.get(part);
      if (slot === undefined) {
        if (layer === undefined) return undefined;
        if (part.startsWith(WHITEOUT))
          throw badImage("a layer has something below a whiteout", { entry: parts.join("/") });
        const made = directory();
        here.children.set(part, { layer, node: made });
        trail.push(made);
      } else if (slot.node.kind === "directory") trail.push(slot.node);
      else if (slot.node.entry.type === "symlink") {
        if (++links > MOST_LINKS) return undefined;
        const { target } = slot.node.entry;
        if (target.startsWith("/")) trail.length = 1;
        ahead.push(...target.split("/").toReversed());
      } else return undefined;
      if (trail.length > most.depth) throw badImage(`a layer has a path of more than ${most.depth} directories`);
    }
    return trail;
  }

  function parentOf(parts: readonly string[], layer?: number): Directory | undefined {
    return walk(parts.slice(0, -1), layer)?.at(-1);
  }

  function link(entry: TarEntry): Leaf {
    const parts = partsOf(entry.target);
    const slot = parentOf(parts)?.children.get(parts.at(-1) ?? "");
    if (slot?.node.kind !== "leaf") {
      throw badImage("a layer has a hard link to what is no file of the image", {
        entry: entry.name,
        target: entry.target,
      });
    }
    return slot.node;
  }

  function place(parent: Directory, name: string, entry: TarEntry, layer: number): void {
    const before = parent.children.get(name)?.node;
    if (entry.type !== "directory") {
      const node: Leaf = entry.type === "link" ? link(entry) : { kind: "leaf", entry, layer };
      parent.children.set(name, { layer, node });
      return;
    }
    const node = before?.kind === "directory" ? before : directory();
    node.entry = entry;
    parent.children.set(name, { layer, node });
  }

  return {
    root,

    add(entry, layer) {
      if (++entries > most.entries) throw tooLarge(`the image has more than ${most.entries} entries`);
      const parts = partsOf(entry.name);
      const name = parts.at(-1);
      if (name === undefined) {
        if (entry.type === "directory") root.entry = entry;
        return;
      }
      const parent = parentOf(parts, layer);
      if (parent === undefined) {
        throw badImage("a layer has a file below what is no directory", { entry: entry.name });
      }
      if (name === OPAQUE) empty(parent, layer);
      else if (name.startsWith(".wh..wh.")) return;
      else if (name.startsWith(WHITEOUT)) hide(parent, whiteoutOf(name), layer);
      else place(parent, name, entry, layer);
    },

    find(path) {
      let parts = partsOf(path);
      for (let links = 0; links <= MOST_LINKS; links++) {
        const name = parts.at(-1);
        if (name === undefined) return root;
        const node = parentOf(parts)?.children.get(name)?.node;
        if (node?.kind !== "leaf" || node.entry.type !== "symlink") return node;
        const { target } = node.entry;
        parts = [...(target.startsWith("/") ? [] : parts.slice(0, -1)), ...target.split("/")].filter(
          (part) => part !== "",
        );
      }
      return undefined;
    },
  };
}

/** Takes away what lower layers have below a directory; what this layer has put there stays. */
function empty(parent: Directory, layer: number): void {
  // Once a layer is enough: what is here since then is the layer's own.
  if (parent.emptied === layer) return;
  parent.emptied = layer;
  for (const name of parent.children.keys()) hide(parent, name, layer);
}

function hide(parent: Directory, name: string, layer: number): void {
  const slot = parent.children.get(name);
  if (slot === undefined) return;
  if (slot.node.kind === "directory") {
    empty(slot.node, layer);
    if (slot.layer < layer && slot.node.children.size === 0) parent.children.delete(name);
  } else if (slot.layer < layer) parent.children.delete(name);
}

function whiteoutOf(name: string): string {
  const hidden = name.slice(WHITEOUT.length);
  if (["", ".", ".."].includes(hidden)) throw badImage("a layer has a whiteout of nothing", { entry: name });
  return hidden;
}

/** A path from the root of the tree, whether or not it begins with a slash. */
function partsOf(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes(".."))
    throw badImage("a layer has a path that leads upwards, and so out of the image", { entry: path });
  if (parts.some((part) => part.length > MOST_COMPONENT)) {
    throw badImage("a layer has a name of more than 255 bytes", { entry: `${path.slice(0, 60)}...` });
  }
  return parts;
}
