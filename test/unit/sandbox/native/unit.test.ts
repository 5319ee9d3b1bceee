import { assert, property, stringMatching } from "fast-check";
import { describe, expect, it } from "vitest";
import { EXITS, partsOf, sliceName, unitName } from "../../../../src/sandbox/native/names.ts";
import { polkitRule, poolSlice, sharedDirectories, templateUnit } from "../../../../src/sandbox/native/unit.ts";
import { argument } from "../../../../src/sandbox/native/unit-text.ts";
import { PROGRAMS, pool, valuesOf, wordsOf } from "../../../support/native/pool.ts";

const HEX = "abcdef0123456789abcdef01";
const unit = templateUnit(pool(), PROGRAMS);

describe("what a job's unit allows", () => {
  it("gives each job a user of its own, and no way to another", () => {
    expect(valuesOf(unit, "DynamicUser")).toEqual(["yes"]);
    expect(valuesOf(unit, "User")).toEqual(["ftn-%i"]);
    // The name has to fit: 31 characters.
    expect(`ftn-${HEX}`.length).toBeLessThanOrEqual(31);
    for (const key of ["NoNewPrivileges", "PrivateUsers", "RestrictNamespaces", "RestrictSUIDSGID"]) {
      expect(valuesOf(unit, key), key).toEqual(["yes"]);
    }
    expect(valuesOf(unit, "CapabilityBoundingSet")).toEqual([""]);
  });

  it("shows nothing of the host's files but what is named", () => {
    expect(valuesOf(unit, "RootDirectory")).toHaveLength(1);
    expect(wordsOf(unit, "TemporaryFileSystem")[0]).toMatch(/^\/:/);
    const seen = wordsOf(unit, "BindReadOnlyPaths").map((path) => path.replace(/^-/, ""));
    for (const path of seen) expect(path).not.toMatch(/^\/(|home|root|etc|var|run)\/?$/);
    // Root writes the account there; the directory is closed to everybody else.
    expect(valuesOf(unit, "BindPaths")).toEqual([EXITS]);
    expect(sharedDirectories("fireteact")).toContain(`d ${EXITS} 0750 root fireteact 1d\n`);
    const hidden = wordsOf(unit, "InaccessiblePaths");
    for (const path of ["/run/secrets", "/var/lib/vault", "/etc/fireteact", "/run/fireteact", "/var/lib/fireteact"]) {
      expect(hidden).toContain(`-${path}`);
    }
  });

  it("adds what the pool names to what is seen and to what is hidden", () => {
    const text = templateUnit(pool({ readOnlyPaths: ["/srv/data"], inaccessiblePaths: ["/srv/data/key"] }), PROGRAMS);
    expect(wordsOf(text, "BindReadOnlyPaths")).toContain("/srv/data");
    expect(wordsOf(text, "InaccessiblePaths")).toContain("-/srv/data/key");
  });

  it("ends with everything it started, whatever ends it", () => {
    expect(valuesOf(unit, "Type")).toEqual(["exec"]);
    expect(valuesOf(unit, "KillMode")).toEqual(["control-group"]);
    // A little after the orchestrator's own limit.
    expect(Number(valuesOf(unit, "RuntimeMaxSec")[0])).toBeGreaterThan(3_600);
    expect(Number(valuesOf(unit, "RuntimeMaxSec")[0])).toBeLessThan(4_000);
  });

  it("is held to its pool's limits", () => {
    expect(valuesOf(unit, "MemoryMax")).toEqual(["512M"]);
    expect(valuesOf(unit, "MemorySwapMax")).toEqual(["0M"]);
    expect(valuesOf(unit, "TasksMax")).toEqual(["256"]);
    expect(valuesOf(unit, "CPUWeight")).toEqual(["50"]);
    expect(valuesOf(unit, "Slice")).toEqual([sliceName("host")]);
    expect(valuesOf(poolSlice(pool({ poolMemoryMib: 900 })), "MemoryMax")).toEqual(["900M"]);
    expect(valuesOf(poolSlice(pool()), "MemoryMax")).toEqual([]);
  });

  it("gets its credential as a file, and a directory, HOME and PATH of its own", () => {
    expect(valuesOf(unit, "LoadCredential")).toEqual(["runner:/run/fireteact-native/credentials/%i"]);
    expect(valuesOf(unit, "ExecStart")[0]).toContain("--metadata=file:%d/runner");
    // Of its own, on disk, and removed by systemd itself with the unit.
    expect(valuesOf(unit, "PrivateTmp")).toEqual(["yes"]);
    expect(valuesOf(unit, "ExecStart")[0]).toContain("--work-dir=/var/tmp/");
    expect(valuesOf(unit, "Environment")).toEqual([
      "HOME=/var/tmp/fireteact",
      "PATH=/usr/bin:/usr/sbin",
      "LANG=C.UTF-8",
    ]);
    for (const key of ["CacheDirectory", "StateDirectory", "LogsDirectory"]) expect(valuesOf(unit, key)).toEqual([]);
    expect(valuesOf(unit, "EnvironmentFile")).toEqual([]);
  });

  it("does not keep node or nix from running, as was measured", () => {
    expect(valuesOf(unit, "MemoryDenyWriteExecute")).toEqual([]);
    expect(valuesOf(unit, "ProcSubset")).toEqual([]);
    expect(wordsOf(unit, "SystemCallFilter")[0]).toMatch(/^~/);
    expect(wordsOf(unit, "RestrictAddressFamilies")).toContain("AF_UNIX");
  });

  it("reaches the Nix daemon only where the pool says so", () => {
    const socket = "-/nix/var/nix/daemon-socket";
    expect(wordsOf(unit, "BindReadOnlyPaths")).toContain(socket);
    const without = templateUnit(pool({ nix: false }), PROGRAMS);
    expect(wordsOf(without, "BindReadOnlyPaths")).not.toContain(socket);
    expect(wordsOf(without, "InaccessiblePaths")).toContain(socket);
  });

  it("reaches loopback addresses only where the pool says so, but always the resolver's", () => {
    expect(valuesOf(unit, "IPAddressDeny")).toEqual(["localhost"]);
    expect(wordsOf(unit, "IPAddressAllow")).toEqual(["127.0.0.53", "127.0.0.54"]);
    expect(templateUnit(pool({ loopback: true }), PROGRAMS)).not.toContain("IPAddress");
  });

  it("finds packages and engines in its PATH", () => {
    const packages = ["/nix/store/aaaa-git/", "/opt/go"];
    const engines = { "gitea-runner": "/opt/x/act_runner" };
    const text = templateUnit(pool({ hostPackages: packages }), { ...PROGRAMS, engines });
    expect(valuesOf(text, "Environment")[1]).toBe(
      "PATH=/opt/fireteact/engines:/nix/store/aaaa-git/bin:/nix/store/aaaa-git/sbin:/opt/go/bin:/opt/go/sbin",
    );
    expect(wordsOf(text, "BindReadOnlyPaths")).toContain("/opt/x/act_runner:/opt/fireteact/engines/gitea-runner");
    expect(valuesOf(text, "ExecStart")[0]).toContain("--act-runner=/opt/fireteact/engines/gitea-runner");
  });

  it("refuses programs at paths that a unit file would read otherwise", () => {
    expect(() => templateUnit(pool(), { ...PROGRAMS, node: "/opt/my node" })).toThrow(/cannot stand in a unit file/);
  });
});

describe("names of units", () => {
  it("tell pool and hex again, for any pool", () => {
    assert(
      property(stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,36}[A-Za-z0-9])?$/), (name) => {
        expect(partsOf(unitName(name, HEX))).toEqual({ pool: name, hex: HEX });
        // A dash would put the slice below another pool's.
        expect(sliceName(name).slice("fireteact-native-".length)).not.toContain("-");
      }),
    );
  });

  it.each(["nix-daemon.service", "fireteact-native-a@.service", `fireteact-native-a@${HEX}.timer`, `x@${HEX}.service`])(
    "%s is none",
    (name) => expect(partsOf(name)).toBeUndefined(),
  );
});

describe("the polkit rule", () => {
  const YES = "yes";
  /** Runs the rule as polkitd does. */
  const answer = (text: string, user: string, details: Record<string, string>, id = MANAGE): unknown => {
    let rule: ((action: unknown, subject: unknown) => unknown) | undefined;
    const polkit = { Result: { YES }, addRule: (given: typeof rule) => (rule = given) };
    // eslint-disable-next-line typescript/no-implied-eval -- the rule is a program for another interpreter
    new Function("polkit", text)(polkit);
    return rule?.({ id, lookup: (key: string) => details[key] }, { user });
  };
  const MANAGE = "org.freedesktop.systemd1.manage-units";
  const rule = polkitRule("fireteact", ["nix", "b.c"]);
  const own = unitName("nix", HEX);

  it.each(["start", "stop"])("lets its user %s units of the pools", (verb) => {
    expect(answer(rule, "fireteact", { unit: own, verb })).toBe(YES);
    expect(answer(rule, "fireteact", { unit: unitName("b.c", HEX), verb })).toBe(YES);
  });

  it.each([
    ["another user", "mallory", { unit: own, verb: "start" }],
    ["another verb", "fireteact", { unit: own, verb: "set-property" }],
    ["another unit", "fireteact", { unit: "nix-daemon.service", verb: "stop" }],
    ["another pool", "fireteact", { unit: unitName("bxc", HEX), verb: "start" }],
    ["an instance that is no runner", "fireteact", { unit: "fireteact-native-nix@x.service", verb: "start" }],
    ["a longer name", "fireteact", { unit: `${own}.service`, verb: "start" }],
    ["a transient unit, of which polkit hears nothing", "fireteact", { verb: "start" }],
  ])("has no word on %s", (_, user, details) => {
    expect(answer(rule, user, details)).toBeUndefined();
  });

  it("has no word on other actions", () => {
    const id = "org.freedesktop.systemd1.manage-unit-files";
    expect(answer(rule, "fireteact", { unit: own, verb: "start" }, id)).toBeUndefined();
  });
});

it("an argument in a unit file means itself", () => {
  expect(argument('a "b" $c %d \\e')).toBe(String.raw`"a \"b\" $$c %%d \\e"`);
});
