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

  it("give a monitor its guest's processors and one more, where that can be set", () => {
    const { root, line, of } = mounted();
    const mounts = line("all", "cgroup2", "");
    writeFileSync(join(root, "all/cgroup.controllers"), "cpu memory pids\n");
    const cgroups = createCgroups("abcdef", systemClock, mounts);
    cgroups.make(HEX, { ...LIMITS, vcpus: 2 });
    expect(of("all/fireteact-abcdef", HEX, "cpu.max")).toBe("300000 100000");
    expect(of("all/fireteact-abcdef/cgroup.subtree_control")).toBe("+memory +pids +cpu");
    expect(cgroups.settings({ ...LIMITS, vcpus: 2 })).toEqual({
      version: 2,
      parent: "fireteact-abcdef",
      values: [
        ["memory.max", "3145728"],
        ["pids.max", "9"],
        ["cpu.max", "300000 100000"],
      ],
    });
    writeFileSync(join(root, "all/cgroup.controllers"), "memory pids\n");
    const without = createCgroups("abcdef", systemClock, mounts);
    expect(without.settings({ ...LIMITS, vcpus: 2 }).values.map(([file]) => file)).toEqual(["memory.max", "pids.max"]);
  });

  it("of the old hierarchies lie in each of them", () => {
    const { root, line, of } = mounted();
    const mounts = [
      line("m", "cgroup", "memory"),
      line("p", "cgroup", "pids"),
      line("c", "cgroup", "cpu,cpuacct"),
      line("u", "cgroup2", ""),
      line("x", "tmpfs", "memory"),
    ];
    const cgroups = createCgroups("abcdef", systemClock, mounts.join("\n"));
    expect(cgroups.make(HEX, LIMITS)).toEqual(["m", "p"].map((name) => join(root, name, "fireteact-abcdef", HEX)));
    expect(of("m/fireteact-abcdef", HEX, "memory.limit_in_bytes")).toBe("3145728");
    expect(of("p/fireteact-abcdef", HEX, "pids.max")).toBe("9");
    expect(existsSync(join(root, "c/fireteact-abcdef"))).toBe(false);
    expect(cgroups.make(HEX, { ...LIMITS, vcpus: 1 })).toHaveLength(2);
    writeFileSync(join(root, "c/cpu.cfs_quota_us"), "-1\n");
    const timed = createCgroups("abcdef", systemClock, mounts.join("\n"));
    expect(timed.make(HEX, { ...LIMITS, vcpus: 1 })).toHaveLength(3);
    expect(of("c/fireteact-abcdef", HEX, "cpu.cfs_quota_us")).toBe("200000");
    expect(timed.settings({ ...LIMITS, vcpus: 1 })).toMatchObject({
      version: 1,
      values: [["memory.limit_in_bytes", "3145728"], ["pids.max", "9"], expect.anything(), expect.anything()],
    });
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
