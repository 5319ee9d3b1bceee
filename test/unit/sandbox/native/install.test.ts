import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { compareUnits, installUnits, type UnitFile, unitFiles } from "../../../../src/sandbox/native/install.ts";
import { PROGRAMS, pool } from "../../../support/native/pool.ts";

const filesOf = (names: string[], user = "root", tasks = 256): UnitFile[] =>
  unitFiles({
    pools: names.map((name) => pool({ name, tasks })),
    programs: PROGRAMS,
    environment: () => "NIX_REMOTE=daemon\n",
    user,
  });

function emptyRoot(): string {
  const root = mkdtempSync(join(tmpdir(), "fireteact-units-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  return root;
}

describe("installing units", () => {
  it("writes them once, and then finds nothing to do", () => {
    const root = emptyRoot();
    const files = filesOf(["a"]);
    expect(compareUnits(files, root).map(({ state }) => state)).toEqual(files.map(() => "missing"));
    expect(installUnits(files, root)).toEqual(files.map(({ path }) => path));
    expect(compareUnits(files, root)).toEqual([]);
    expect(installUnits(files, root)).toEqual([]);
    expect(readFileSync(join(root, "etc/fireteact-native/a.environment"), "utf8")).toContain("NIX_REMOTE=daemon\n");
    // It may hold a proxy's password: the service manager and the agent's own view reach it, and nobody else.
    expect(statSync(join(root, "etc/fireteact-native")).mode & 0o777).toBe(0o700);
  });

  it("shows what differs, line by line, and mends it", () => {
    const root = emptyRoot();
    installUnits(filesOf(["a"]), root);
    const wanted = filesOf(["a"], "root", 999);
    expect(compareUnits(wanted, root)).toEqual([
      {
        path: "/etc/systemd/system/fireteact-native-a@.service",
        state: "differs",
        lines: ["- TasksMax=256", "+ TasksMax=999"],
      },
    ]);
    installUnits(wanted, root);
    expect(compareUnits(wanted, root)).toEqual([]);
  });

  it("removes units of pools that are gone, and only those it wrote", () => {
    const root = emptyRoot();
    const strange = "etc/systemd/system/fireteact-native-mine@.service";
    installUnits(filesOf(["a", "b"]), root);
    writeFileSync(join(root, strange), "[Service]\n");
    const stale = ["fireteact-native-b.slice", "fireteact-native-b@.service"];
    const found = compareUnits(filesOf(["a"]), root);
    expect(found.map(({ path, state }) => `${path.split("/").at(-1)} is ${state}`).toSorted()).toEqual(
      stale.map((name) => `${name} is stale`),
    );
    installUnits(filesOf(["a"]), root);
    expect(compareUnits(filesOf(["a"]), root)).toEqual([]);
    expect(existsSync(join(root, strange))).toBe(true);
  });

  it("takes units that a package or NixOS put elsewhere", () => {
    const root = emptyRoot();
    for (const { path, content, isUnit } of filesOf(["a"])) {
      const place = join(root, isUnit ? path.replace("/etc/systemd", "/usr/lib/systemd") : path);
      mkdirSync(dirname(place), { recursive: true });
      writeFileSync(place, content);
    }
    expect(compareUnits(filesOf(["a"]), root)).toEqual([]);
  });

  it("lets a user that is not root use the units, and root without any rule", () => {
    const paths = (user: string) => filesOf(["a"], user).map(({ path }) => path);
    expect(paths("root").some((path) => path.includes("polkit"))).toBe(false);
    expect(paths("fireteact").some((path) => path.includes("polkit"))).toBe(true);
    const shared = (user: string) => filesOf(["a"], user).find(({ path }) => path.includes("tmpfiles"))?.content ?? "";
    expect(shared("fireteact")).toContain("d /run/fireteact-native 0750 root fireteact -\n");
    // So that the kernel follows no link there on behalf of the service manager.
    expect(shared("fireteact")).toContain("d /run/fireteact-native/credentials 1777 root root 2d\n");
  });
});
