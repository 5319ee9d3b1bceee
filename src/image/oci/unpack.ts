import { readSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { runTool } from "../tool.ts";
import { badImage } from "./errors.ts";
import type { Layers } from "./layers.ts";
import type { TarEntry } from "./tar-read.ts";
import { padding, tarEnd, tarHeader } from "./tar-write.ts";
import type { Directory, Leaf, Tree } from "./tree.ts";

/** A name in the finished tree, with what it is. */
export interface Placed {
  path: string;
  node: Leaf | Directory;
}

const CHUNK = 1024 * 1024;
const SMALL = 128 * 1024;
/** Leaves room for the directory it is unpacked in. */
const MOST_PATH = 3_900;

/** Everything in the tree, each directory before what it holds. */
export function* placedIn({ root }: Tree): Generator<Placed> {
  const ahead: Placed[] = [{ path: ".", node: root }];
  for (let here = ahead.pop(); here !== undefined; here = ahead.pop()) {
    if (here.path.length > MOST_PATH) throw badImage(`the image has a path of more than ${MOST_PATH} bytes`);
    yield here;
    if (here.node.kind !== "directory") continue;
    for (const [name, { node }] of here.node.children) ahead.push({ path: `${here.path}/${name}`, node });
  }
}

/**
 * One archive of the finished tree: every name once, in a directory that is one. Whatever unpacks it meets no link on its
 * way, whatever the layers had.
 */
export async function* writeTree({ tree, archives }: Pick<Layers, "tree" | "archives">): AsyncGenerator<Buffer> {
  const names = new Map<Leaf, string>();
  let batch: Buffer[] = [];
  let size = 0;
  const flush = (): Buffer => {
    const all = Buffer.concat(batch);
    batch = [];
    size = 0;
    return all;
  };
  for (const { path, node } of placedIn(tree)) {
    const entry = entryOf(path, node, names);
    batch.push(tarHeader(entry));
    size += 1024 + (entry.size < SMALL ? entry.size : 0);
    if (node.kind === "leaf" && entry.type === "file") {
      const archive = archives[node.layer];
      if (archive === undefined) throw new Error("a leaf of no layer");
      if (entry.size < SMALL) {
        // Small ones are most of them, and a promise for each would take longer than reading.
        const content = Buffer.allocUnsafe(entry.size);
        if (readSync(archive.fd, content, 0, entry.size, node.entry.offset) !== entry.size) throw cutShort();
        batch.push(content, padding(entry.size));
      } else {
        yield flush();
        for (let at = 0; at < entry.size; ) {
          const piece = Buffer.allocUnsafe(Math.min(CHUNK, entry.size - at));
          const { bytesRead } = await archive.read(piece, 0, piece.length, node.entry.offset + at);
          if (bytesRead === 0) throw cutShort();
          yield piece.subarray(0, bytesRead);
          at += bytesRead;
        }
        batch.push(padding(entry.size));
      }
    }
    if (size >= CHUNK) yield flush();
  }
  batch.push(tarEnd());
  yield flush();
}

function entryOf(path: string, node: Leaf | Directory, names: Map<Leaf, string>): TarEntry {
  if (node.kind === "directory") {
    return { ...IMPLIED, ...node.entry, name: `${path}/`, type: "directory", size: 0, target: "" };
  }
  const first = names.get(node);
  if (first !== undefined)
    return { ...node.entry, name: path, type: "link", target: first, size: 0, xattrs: new Map() };
  names.set(node, path);
  return { ...node.entry, name: path };
}

/** A directory of which no layer says more than that something is in it. */
const IMPLIED: Omit<TarEntry, "name" | "type"> = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0,
  size: 0,
  offset: 0,
  target: "",
  major: 0,
  minor: 0,
  xattrs: new Map(),
};

/** Unpacks the finished tree into a new directory, with owners, modes, devices and attributes as they are. */
export async function unpackTree(layers: Layers, target: string, signal: AbortSignal): Promise<void> {
  await mkdir(target, { mode: 0o700 });
  const options = ["--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"];
  await runTool("tar", ["--extract", "--file=-", `--directory=${target}`, ...options], {
    signal,
    input: writeTree(layers),
  });
}

const cutShort = () => badImage("a layer is cut short");
