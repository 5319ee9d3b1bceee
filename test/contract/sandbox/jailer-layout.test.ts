import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { installJailer } from "../../support/firecracker/install-jailer.ts";
import { hexOf, jails, NOTHING, UID } from "../../support/firecracker/jails.ts";
import { isRoot, realBinary } from "../../support/firecracker/real.ts";
import { exitOfSandbox, temporaryPlaces } from "../../support/sandboxes.ts";

const REAL = realBinary("JAILER_BIN");
const jailers = [["stand-in", undefined], ...(REAL === undefined ? [] : [["real one", REAL] as const])] as const;

/** Everything below a directory: type and rights, owner, and which device it is. */
function treeOf(root: string, inside = ""): Record<string, string> {
  const { mode, uid, gid, rdev } = lstatSync(join(root, inside));
  const device = rdev === 0 ? "" : ` ${rdev >> 8}:${rdev & 0xff}`;
  const owner = uid === UID && gid === UID ? "own" : `${uid}:${gid}`;
  const tree: Record<string, string> = { [inside]: `${mode.toString(8)} ${owner}${device}` };
  if (!lstatSync(join(root, inside)).isDirectory()) return tree;
  return Object.assign(tree, ...readdirSync(join(root, inside)).map((name) => treeOf(root, join(inside, name))));
}

describe.skipIf(!isRoot).each(jailers)("a jail that the jailer (%s) has made", (_, real) => {
  it("is the same with both, and is gone after removal", async () => {
    const places = await temporaryPlaces();
    const install = join(places.root, "install");
    mkdirSync(install, { mode: 0o755 });
    const standIn = await installJailer(install);
    const binary = join(install, "firecracker");
    // Not static, so it does not run in a real jail: with that the jailer ends, with status 1 as well.
    writeFileSync(binary, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const { prepare, remove, remains, cgroups } = await jails(places, { binary, jailer: real ?? standIn.jailer });
    const hex = hexOf(1);
    const { own, prepared, root } = await prepare(hex);
    await prepared.start([]);
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: 1 });
    const { "dev/userfaultfd": _uffd, ...tree } = treeOf(root);
    expect(tree).toEqual({
      "": "40700 own",
      dev: "40700 own",
      "dev/kvm": "20600 own 10:232",
      "dev/net": "40700 own",
      "dev/net/tun": "20600 own 10:200",
      "dev/urandom": "20600 own 1:9",
      files: "40711 0:0",
      "files/kernel": "100644 0:0",
      "files/scratch": "100600 own",
      firecracker: expect.stringMatching(/^100[67][0-5][0-5] own$/),
      "firecracker.pid": "100600 0:0",
      run: "40700 own",
      vm: "40700 own",
      "vm/initrd": "100600 own",
    });
    // The first process of its namespace.
    expect(readFileSync(join(root, "firecracker.pid"), "utf8")).toBe("1");
    expect(cgroups.problem() === undefined ? cgroups.list() : [hex]).toContain(hex);
    await remove(hex);
    await remove(hex);
    expect(remains()).toEqual(NOTHING);
  });
});
