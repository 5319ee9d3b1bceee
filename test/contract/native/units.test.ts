import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { sliceName, templateName } from "../../../src/sandbox/native/names.ts";
import { poolSlice, templateUnit } from "../../../src/sandbox/native/unit.ts";
import { PROGRAMS, pool } from "../../support/native/pool.ts";

describe("systemd's own opinion", () => {
  const install = () => {
    const directory = mkdtempSync(join(tmpdir(), "fireteact-units-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    mkdirSync(join(directory, "lib"));
    const agent = join(directory, "lib/agent.cjs");
    writeFileSync(agent, "");
    const own = pool({ name: "a-b", groups: ["nogroup"], poolMemoryMib: 900 });
    const path = join(directory, templateName("a-b"));
    writeFileSync(path, templateUnit(own, { ...PROGRAMS, agent }));
    writeFileSync(join(directory, sliceName("a-b")), poolSlice(own));
    return path;
  };

  it("verify finds nothing to say", () => {
    const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", install()], { encoding: "utf8" });
    const about = stderr.split("\n").filter((line) => line.includes("fireteact"));
    expect({ status, about }).toEqual({ status: 0, about: [] });
  });

  it("security rates the exposure as low: below 2.5 of 10", () => {
    const args = ["security", "--offline=yes", "--threshold=25", "--no-pager", install()];
    const { status, stdout } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
    expect(stdout).toContain("Overall exposure level");
    expect(status, stdout).toBe(0);
  });
});
