import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { requireAgent } from "../../../../src/image/oci/guest.ts";
import type { TarEntry } from "../../../../src/image/oci/tar-read.ts";
import { createTree, type TreeLimits } from "../../../../src/image/oci/tree.ts";
import { placedIn } from "../../../../src/image/oci/unpack.ts";

type Given = Partial<TarEntry> & { name: string };

const entry = (given: Given): TarEntry => ({
  type: given.name.endsWith("/") ? "directory" : "file",
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 0,
  size: 0,
  offset: 0,
  target: "",
  major: 0,
  minor: 0,
  xattrs: new Map(),
  ...given,
});

function apply(layers: (Given | string)[][], limits?: Partial<TreeLimits>) {
  const tree = createTree(limits);
  for (const [index, layer] of layers.entries()) {
    for (const each of layer) tree.add(entry(typeof each === "string" ? { name: each } : each), index);
  }
  return tree;
}

const pathsOf = (...layers: (Given | string)[][]): string[] =>
  [...placedIn(apply(layers))]
    .map(({ path }) => path.slice(2))
    .filter(Boolean)
    .toSorted();

const link = (name: string, target: string): Given => ({ name, type: "symlink", target });
const hard = (name: string, target: string): Given => ({ name, type: "link", target });

describe("layers", () => {
  it("lie over one another", () => {
    expect(pathsOf(["a/", "a/one", "b"], ["a/two", "c/d/e"])).toEqual([
      "a",
      "a/one",
      "a/two",
      "b",
      "c",
      "c/d",
      "c/d/e",
    ]);
  });

  it("take away with a whiteout what lower ones have, and nothing of their own", () => {
    expect(pathsOf(["a/x", "a/y", "b"], ["a/.wh.x", ".wh.b", "b"])).toEqual(["a", "a/y", "b"]);
    expect(pathsOf(["b"], ["b", ".wh.b"])).toEqual(["b"]);
    expect(pathsOf(["a/b/c"], [".wh.a"])).toEqual([]);
    expect(pathsOf(["a/b/c"], ["a/b/d", ".wh.a"])).toEqual(["a", "a/b", "a/b/d"]);
    expect(pathsOf(["a/b/c"], [".wh.a", "a/b/d"])).toEqual(["a", "a/b", "a/b/d"]);
  });

  it.each([
    ["first", ["d/", "d/.wh..wh..opq", "d/new"]],
    ["last", ["d/new", "d/", "d/.wh..wh..opq"]],
  ])("empty a directory that they make opaque, wherever they say so: %s", (_, upper) => {
    expect(pathsOf(["d/old", "d/deep/old", "e"], upper)).toEqual(["d", "d/new", "e"]);
  });

  it("may replace a file by a directory, a directory by a file, and a link by either", () => {
    expect(pathsOf(["a", "b/c"], ["a/", "a/x", "b"])).toEqual(["a", "a/x", "b"]);
    const tree = apply([
      ["real/x", link("l", "real")],
      ["l/", "l/y"],
    ]);
    expect(tree.find("l")).toMatchObject({ kind: "directory" });
    expect([...(tree.find("real") as { children: Map<string, unknown> }).children.keys()]).toEqual(["x"]);
  });

  it("reach through links of lower layers, as in /lib -> usr/lib", () => {
    expect(pathsOf(["usr/lib/", link("lib", "usr/lib")], ["lib/x"])).toEqual(["lib", "usr", "usr/lib", "usr/lib/x"]);
    expect(pathsOf(["usr/lib/old", link("lib", "/usr/lib")], ["lib/.wh.old"])).toEqual(["lib", "usr", "usr/lib"]);
    // What a link leads to need not be there yet.
    expect(pathsOf([link("run", "../../var/run"), "run/x"])).toEqual(["run", "var", "var/run", "var/run/x"]);
  });

  it("share a file between its names, until one of them is replaced", () => {
    const tree = apply([["a", hard("b", "a"), hard("d/c", "/b")], ["a"]]);
    expect(tree.find("b")).toBe(tree.find("d/c"));
    expect(tree.find("a")).not.toBe(tree.find("b"));
  });

  it("say the directory's mode last, and keep what is in it", () => {
    const tree = apply([[{ name: "d/", mode: 0o755 }, "d/x"], [{ name: "./d", type: "directory", mode: 0o700 }]]);
    expect(tree.find("/d")).toMatchObject({ entry: { mode: 0o700 } });
    expect(tree.find("/d/x")).toBeDefined();
  });

  it.each([
    ["a path upwards", [["../etc/passwd"]], "leads upwards"],
    ["a path upwards in the middle", [["a/../../x"]], "leads upwards"],
    ["a hard link upwards", [["a", hard("b", "../../etc/passwd")]], "leads upwards"],
    ["a hard link to nothing", [[hard("b", "/etc/passwd")]], "is no file of the image"],
    ["a hard link to a directory", [["d/", hard("b", "d")]], "is no file of the image"],
    [
      "a hard link through a link in a circle",
      [[link("a", "b"), link("b", "a"), hard("c", "a/x")]],
      "is no file of the image",
    ],
    ["a file below a file", [["a", "a/b"]], "below what is no directory"],
    ["links in a circle", [[link("a", "b"), link("b", "a"), "a/x"]], "below what is no directory"],
    ["a whiteout of nothing", [["d/.wh."]], "whiteout of nothing"],
    ["a whiteout upwards", [["d/.wh..."]], "whiteout of nothing"],
    ["a file below a whiteout", [["d/.wh.x/y"]], "below a whiteout"],
    ["a name too long", [["x".repeat(256)]], "more than 255 bytes"],
    ["a path too deep", [["d/".repeat(600)]], "512 directories"],
  ])("with %s are refused", (_, layers, why) => {
    expect(() => apply(layers)).toThrow(why);
  });

  it("cannot lead out of the image with a link", () => {
    expect(pathsOf([link("out", "../../../.."), "out/etc/passwd"])).toEqual(["etc", "etc/passwd", "out"]);
    expect(pathsOf([link("out", "/.."), hard("h", "out/x")].slice(0, 1), ["out/x"])).toEqual(["out", "x"]);
  });

  it("are bounded in their number of entries, and in the work they make", () => {
    const three = { entries: 3 };
    expect(() => apply([["a", "b", "c", "d"]], three)).toThrow("more than 3 entries");
    const maze = [
      link("a", "b/".repeat(30)),
      link("b", "c/".repeat(30)),
      link("c", "."),
      ...Array.from({ length: 10 }, String),
    ].map((each) => (typeof each === "string" ? `a/a/a/a/${each}` : each));
    expect(() => apply([maze], { looks: 100 })).toThrow(/entangled|no directory/);
    // Many whiteouts of one directory look through it once.
    const many = Array.from({ length: 20_000 }, (_, index) => `d/${index}`);
    const again = Array.from({ length: 20_000 }, () => "d/.wh..wh..opq");
    expect(pathsOf(many, ["d/", ...again])).toEqual(["d"]);
  });

  it("give what a plain model gives, where there are no links", () => {
    const name = fc.constantFrom("a", "b", "a/a", "a/b", "a/a/a", "b/a", "b/b/a");
    const change = fc.oneof(
      name.map((path) => ({ kind: "file" as const, path })),
      name.map((path) => ({ kind: "whiteout" as const, path })),
      name.map((path) => ({ kind: "opaque" as const, path })),
    );
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(change, { maxLength: 5, selector: ({ path }) => path }), { maxLength: 4 }),
        (layers) => {
          const model = new Set<string>();
          const tree = createTree();
          for (const [index, layer] of layers.entries()) {
            const files = layer.filter(({ kind }) => kind === "file").map(({ path }) => path);
            // A file below a file of the same layer, or below one that stays, is another test's.
            fc.pre(files.every((file) => !files.some((other) => file.startsWith(`${other}/`))));
            const hidden = layer.filter(({ kind }) => kind !== "file");
            fc.pre(hidden.every(({ path }) => ![...model].some((old) => path.startsWith(`${old}/`))));
            fc.pre(hidden.every(({ path, kind }) => kind !== "opaque" || !model.has(path)));
            for (const { kind, path } of hidden) {
              for (const old of model)
                if (old.startsWith(`${path}/`) || (kind === "whiteout" && old === path)) model.delete(old);
            }
            fc.pre(files.every((file) => ![...model].some((old) => file.startsWith(`${old}/`))));
            fc.pre(
              hidden.every(
                ({ path, kind }) =>
                  ![...model, ...files].some((old) => `${path}${kind === "opaque" ? "/x" : ""}`.startsWith(`${old}/`)),
              ),
            );
            for (const file of files) {
              for (const old of model) if (old.startsWith(`${file}/`)) model.delete(old);
              model.add(file);
            }
            const order = [...hidden, ...layer.filter(({ kind }) => kind === "file")];
            for (const { kind, path } of order) {
              const at = path.lastIndexOf("/") + 1;
              const whiteout = `${path.slice(0, at)}.wh.${path.slice(at)}`;
              tree.add(entry({ name: { file: path, whiteout, opaque: `${path}/.wh..wh..opq` }[kind] }), index);
            }
          }
          const files = [...placedIn(tree)].filter(({ node }) => node.kind === "leaf").map(({ path }) => path.slice(2));
          expect(files.toSorted()).toEqual([...model].toSorted());
        },
      ),
    );
  });

  it("never place anything outside, or below what is no directory, whatever they hold", () => {
    const part = fc.constantFrom("a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "c");
    const path = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"));
    const type = fc.constantFrom<TarEntry["type"]>("file", "directory", "symlink", "link", "char");
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.record({ name: path, type, target: path }), { maxLength: 8 }), { maxLength: 3 }),
        (layers) => {
          const tree = createTree();
          for (const [index, layer] of layers.entries()) {
            for (const each of layer) {
              try {
                tree.add(entry(each), index);
              } catch (error) {
                expect(error).toMatchObject({ code: "IMAGE_INVALID" });
              }
            }
          }
          const seen = new Map([...placedIn(tree)].map(({ path, node }) => [path, node]));
          for (const path of seen.keys()) {
            expect(path).toMatch(/^\.(?:\/(?!\.\.?(?:\/|$)|\.wh\.)[^/]+)*$/);
            const parent = path.slice(0, path.lastIndexOf("/"));
            if (path !== ".") expect(seen.get(parent)?.kind).toBe("directory");
          }
        },
      ),
    );
  });
});

describe("a guest", () => {
  const program = (name: string, mode = 0o755): Given => ({ name, mode });

  it("has its agent, behind links too", () => {
    const usrmerge = apply([
      ["usr/sbin/", link("sbin", "usr/sbin"), program("sbin/fireteact-init"), program("usr/bin/fireteact")],
    ]);
    expect(() => requireAgent(usrmerge, "x")).not.toThrow();
    const linked = apply([
      [
        program("opt/f/init"),
        program("opt/f/agent"),
        link("sbin/fireteact-init", "../opt/f/init"),
        link("usr/bin/fireteact", "/opt/f/agent"),
      ],
    ]);
    expect(() => requireAgent(linked, "x")).not.toThrow();
  });

  it.each([
    ["nothing", [], "/sbin/fireteact-init"],
    ["an init alone", [program("sbin/fireteact-init")], "/usr/bin/fireteact"],
    [
      "an agent that nobody may run",
      [program("sbin/fireteact-init"), program("usr/bin/fireteact", 0o644)],
      "/usr/bin/fireteact",
    ],
    [
      "a link to nowhere",
      [link("sbin/fireteact-init", "/nowhere"), program("usr/bin/fireteact")],
      "/sbin/fireteact-init",
    ],
    ["a link to itself", [link("sbin/fireteact-init", "fireteact-init")], "/sbin/fireteact-init"],
  ])("is no guest with %s", (_, layer, path) => {
    expect(() => requireAgent(apply([layer]), "ghcr.io/o/i:1")).toThrow(
      `ghcr.io/o/i:1 cannot be a guest: it has no program ${path}`,
    );
  });
});
