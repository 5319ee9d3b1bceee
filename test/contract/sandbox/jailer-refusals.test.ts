import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exec } from "../../../src/base/exec.ts";
import { installJailer } from "../../support/firecracker/install-jailer.ts";
import { isRoot, realBinary } from "../../support/firecracker/real.ts";

const root = mkdtempSync(join(tmpdir(), "fireteact-jailer-"));
const base = join(root, "jails");
const binary = join(root, "install/firecracker");
let standIn = "";

beforeAll(async () => {
  mkdirSync(join(root, "install"));
  mkdirSync(base);
  writeFileSync(binary, "#!/bin/sh\n", { mode: 0o755 });
  standIn = (await installJailer(join(root, "install"))).jailer;
});
afterAll(() => rmSync(root, { recursive: true }));

const REAL = realBinary("JAILER_BIN");
const jailers = [
  ["stand-in", () => standIn],
  ...(REAL === undefined ? [] : [["real one", () => REAL] as const]),
] as const;

const GOOD = { id: "a-1", "exec-file": binary, uid: "70001", gid: "70001", "chroot-base-dir": base };
type Changes = Record<string, string | undefined>;
const argumentsOf = (changes: Changes, more: string[] = []): string[] => [
  ...Object.entries({ ...GOOD, ...changes }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  ),
  ...more,
];

/** What it says about one thing that is wrong; nothing is made for any of these. */
const REFUSED: [what: string, args: string[], says: RegExp][] = [
  ["no id", argumentsOf({ id: undefined }), /Argument 'id' required, but not found/],
  ["no user", argumentsOf({ uid: undefined }), /Argument 'uid' required, but not found/],
  ["an underscore in the id", argumentsOf({ id: "a_1" }), /Invalid instance ID: Invalid char \(_\) at position 1/],
  ["a long id", argumentsOf({ id: "a".repeat(65) }), /Invalid instance ID: Invalid len \(65\)/],
  ["an unknown argument", argumentsOf({}, ["--nothing", "1"]), /Found argument 'nothing' which wasn't expected/],
  ["an equals sign", argumentsOf({ id: undefined }, ["--id=a"]), /Found argument 'id=a' which wasn't expected/],
  ["an argument twice", argumentsOf({}, ["--id", "b"]), /The argument 'id' was provided more than once/],
  ["a value that is missing", argumentsOf({}, ["--netns"]), /The argument 'netns' requires a value/],
  ["a value like a name", argumentsOf({ id: "--a" }), /The argument 'id' requires a value/],
  ["a user that is no number", argumentsOf({ uid: "root" }), /Invalid uid: root/],
  ["a group that is too large", argumentsOf({ gid: "4294967296" }), /Invalid gid: 4294967296/],
  ["a binary that is absent", argumentsOf({ "exec-file": join(root, "absent") }), /canonicalize path .*absent/],
  ["a binary that is a directory", argumentsOf({ "exec-file": base }), /is not a file/],
  ["a base that is absent", argumentsOf({ "chroot-base-dir": join(root, "absent") }), /canonicalize path .*absent/],
  ["a base that is a file", argumentsOf({ "chroot-base-dir": binary }), /is not a directory/],
  ["a parent group above", argumentsOf({ "parent-cgroup": "a/../b" }), /Parent cgroup path is invalid/],
  ["an absolute parent group", argumentsOf({ "parent-cgroup": "/a" }), /Parent cgroup path is invalid/],
  ["a version of groups that is a word", argumentsOf({ "cgroup-version": "two" }), /invalid cgroup version specifier/],
  [
    "a third version of groups",
    argumentsOf({ "cgroup-version": "3", cgroup: "memory.max=1" }),
    /invalid cgroup version|Hierarchy not found/,
  ],
  ["a group without a value", argumentsOf({ cgroup: "memory.max=" }), /Invalid format for cgroups: memory.max=/],
  ["a group with two values", argumentsOf({ cgroup: "memory.max=1=2" }), /Invalid format for cgroups/],
  ["a file above its group", argumentsOf({ cgroup: "../memory.max=1" }), /Cgroup invalid file/],
  ["a file of no controller", argumentsOf({ cgroup: "memory=1" }), /Cgroup invalid file/],
  ["a limit without a value", argumentsOf({ "resource-limit": "fsize" }), /Invalid format for resources limits: fsize/],
  ["an unknown limit", argumentsOf({ "resource-limit": "core=1" }), /Invalid resource argument: core/],
  ["a limit that is no number", argumentsOf({ "resource-limit": "fsize=1k" }), /Invalid limit value for resource: 1k/],
];

describe.each(jailers)("the jailer (%s)", (_, jailer) => {
  it.each(REFUSED)("refuses %s, and makes nothing", async (_what, args, says) => {
    const failure = await exec(jailer(), args, { accept: [1] });
    expect(failure.stderr).toMatch(says);
    expect(readdirSync(base)).toEqual([]);
  });

  it("tells its version", async () => {
    expect((await exec(jailer(), ["--version"])).stdout).toMatch(/^Jailer v\d+\.\d+\.\d+\n\n$/);
  });

  it.skipIf(!isRoot)("refuses an id that it has had: what is in the jail would be another guest's", async () => {
    const jail = join(base, "firecracker/a-1");
    mkdirSync(join(jail, "root/dev/net"), { recursive: true });
    await exec("mknod", [join(jail, "root/dev/net/tun"), "c", "10", "200"]);
    try {
      const failure = await exec(jailer(), argumentsOf({}), { accept: [1] });
      expect(failure.stderr).toMatch(/Failed to create .*\/dev\/net\/tun via mknod inside the jail/);
      expect(existsSync(join(jail, "root/firecracker"))).toBe(true);
    } finally {
      rmSync(join(base, "firecracker"), { recursive: true });
    }
  });

  it.skipIf(!isRoot)("refuses a network namespace that is absent", async () => {
    const failure = await exec(jailer(), argumentsOf({ netns: join(root, "absent") }), { accept: [1] });
    rmSync(join(base, "firecracker"), { recursive: true });
    expect(failure.stderr).toMatch(/absent/);
  });
});
