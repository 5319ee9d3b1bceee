import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { createCgroups } from "../../../src/sandbox/microvm/cgroups.ts";
import { hexOf } from "../../support/sandboxes.ts";

const HEX = hexOf(3);
const LIMITS = { memoryMib: 3, tasks: 9 };

/** A directory that stands for mounted hierarchies; `line` makes mountinfo's line about one. */
function mounted() {
  const root = mkdtempSync(join(tmpdir(), "fireteact-cgroups-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const line = (name: string, type: string, options: string): string => {
    mkdirSync(join(root, name));
    return `30 24 0:26 / ${join(root, name)} rw,nosuid shared:9 - ${type} ${type} rw,${options}`;
  };
  return { root, line, of: (...path: string[]) => readFileSync(join(root, ...path), "utf8") };
}

describe("control groups", () => {
  it("of the unified hierarchy get their controllers and limits", () => {
    const { root, line, of } = mounted();
    const mounts = line("all", "cgroup2", "nsdelegate");
    writeFileSync(join(root, "all/cgroup.controllers"), "cpu memory pids\n");
    writeFileSync(join(root, "all/cgroup.subtree_control"), "memory\n");
    const cgroups = createCgroups("abcdef", systemClock, `${mounts}\n`);
    expect(cgroups.make(HEX, LIMITS)).toEqual([join(root, "all/fireteact-abcdef", HEX)]);
    expect(of("all/cgroup.subtree_control")).toBe("+pids");
    expect(of("all/fireteact-abcdef/cgroup.subtree_control")).toBe("+memory +pids");
    expect(of("all/fireteact-abcdef", HEX, "memory.max")).toBe("3145728");
    expect(of("all/fireteact-abcdef", HEX, "pids.max")).toBe("9");
    expect(cgroups.list()).toEqual([HEX]);
    expect(cgroups.problem()).toBeUndefined();
  });

  it("of the old hierarchies lie in each of them", () => {
    const { root, line, of } = mounted();
    const mounts = [
      line("m", "cgroup", "memory"),
      line("p", "cgroup", "pids"),
      line("u", "cgroup2", ""),
      line("x", "tmpfs", "memory"),
    ];
    const cgroups = createCgroups("abcdef", systemClock, mounts.join("\n"));
    expect(cgroups.make(HEX, LIMITS)).toEqual(["m", "p"].map((name) => join(root, name, "fireteact-abcdef", HEX)));
    expect(of("m/fireteact-abcdef", HEX, "memory.limit_in_bytes")).toBe("3145728");
    expect(of("p/fireteact-abcdef", HEX, "pids.max")).toBe("9");
  });

  it.each([
    ["nothing is mounted", () => ""],
    [
      "the unified one has no memory controller",
      (line: ReturnType<typeof mounted>["line"]) => line("u", "cgroup2", ""),
    ],
  ])("are none where %s, which is told", async (_, mountsOf) => {
    const cgroups = createCgroups("abcdef", systemClock, mountsOf(mounted().line));
    expect(cgroups.make(HEX, LIMITS)).toEqual([]);
    expect(cgroups.problem()).toContain("no control groups");
    expect(cgroups.list()).toEqual([]);
    await cgroups.remove(HEX);
  });

  it("are none where they cannot be made: a guest runs without", () => {
    const { root, line } = mounted();
    const mounts = line("m", "cgroup", "memory");
    writeFileSync(join(root, "m/fireteact-abcdef"), "in the way");
    const cgroups = createCgroups("abcdef", systemClock, mounts);
    expect(cgroups.make(HEX, LIMITS)).toEqual([]);
    expect(cgroups.problem()).toContain("EEXIST");
    expect(existsSync(join(root, "m/fireteact-abcdef", HEX))).toBe(false);
  });
});
