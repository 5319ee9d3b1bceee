import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { jailCommand } from "../../../src/sandbox/firecracker/jail-command.ts";
import { unfitMount } from "../../../src/sandbox/firecracker/jail-files.ts";
import { jailBehind, jailPlaces, jailsIn } from "../../../src/sandbox/firecracker/jail-places.ts";
import { checkPrograms, findJailer, interpreterOf } from "../../../src/sandbox/firecracker/jail-programs.ts";
import { readArguments } from "../../support/firecracker/jailer/arguments.ts";
import { hexOf } from "../../support/sandboxes.ts";

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "fireteact-jail-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

function program(path: string, says = ""): string {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho "${says}"\n`);
  chmodSync(path, 0o755);
  return path;
}

describe("the jailer's command", () => {
  it("is one that the jailer accepts, inside a process namespace of its own", () => {
    const base = directory();
    const binary = program(join(base, "firecracker"));
    const command = jailCommand({
      hex: hexOf(1),
      jailer: "/usr/bin/jailer",
      binary,
      uid: 70_001,
      base,
      namespace: "/run/netns/ft-1",
      fileBytes: 4_096,
    });
    const at = command.indexOf("/usr/bin/jailer");
    expect(command.slice(0, at).join(" ")).toBe(
      'prlimit --core=0 --nproc=256 -- setpriv --no-new-privs -- unshare --pid -- /bin/sh -c trap : HUP INT TERM; "$@"; exit $? sh',
    );
    expect(readArguments([...command.slice(at + 1), "--api-sock", "vm/api.sock"])).toEqual({
      id: hexOf(1),
      binary,
      root: join(base, "firecracker", hexOf(1), "root"),
      uid: 70_001,
      gid: 70_001,
      netns: "/run/netns/ft-1",
      groups: [],
      limits: { fsize: 4_096n, "no-file": 512n },
      rest: ["--api-sock", "vm/api.sock"],
    });
  });

  it("names the control groups that were made, and what is in them", () => {
    const values: [string, string][] = [
      ["memory.max", "5"],
      ["cpu.max", "300000 100000"],
    ];
    const cgroups = { version: 2 as const, parent: "fireteact-abcdef", values };
    const fixed = { hex: hexOf(1), jailer: "j", binary: "b", uid: 1, base: "/b", namespace: "/n", fileBytes: 1 };
    const command = jailCommand({ ...fixed, cgroups }).join(" ");
    expect(command).toContain(
      " --cgroup-version 2 --parent-cgroup fireteact-abcdef --cgroup memory.max=5 --cgroup cpu.max=300000 100000 --",
    );
  });
});

describe("jails", () => {
  it("are found by their sandboxes, whichever binary they are for", () => {
    const base = directory();
    for (const [binary, number] of [
      ["firecracker", 1],
      ["firecracker-v1.16.1-x86_64", 2],
      ["firecracker-v1.16.1-x86_64", 1],
    ] as const) {
      mkdirSync(jailPlaces(base, `/opt/${binary}`, hexOf(number)).root, { recursive: true });
    }
    mkdirSync(join(base, "firecracker/something"));
    writeFileSync(join(base, "file"), "");
    const found = jailsIn(base);
    expect([...found.keys()].sort()).toEqual([hexOf(1), hexOf(2)]);
    expect(found.get(hexOf(1))).toHaveLength(2);
    expect(jailsIn(join(base, "absent")).size).toBe(0);
  });

  it("are found behind a sandbox's link as well, but nothing that is not its own", () => {
    const base = directory();
    const jail = jailPlaces(base, "/opt/firecracker", hexOf(1));
    mkdirSync(jail.vm, { recursive: true });
    const link = (target: string) => {
      rmSync(join(base, "vm"), { force: true });
      symlinkSync(target, join(base, "vm"));
      return jailBehind(join(base, "vm"), hexOf(1));
    };
    expect(link(jail.vm)).toBe(jail.directory);
    expect(link("/etc/ssl")).toBeUndefined();
    expect(link(jailPlaces(base, "/opt/firecracker", hexOf(2)).vm)).toBeUndefined();
    expect(jailBehind(jail.vm, hexOf(1))).toBeUndefined();
    expect(jailBehind(join(base, "absent"), hexOf(1))).toBeUndefined();
  });

  it("cannot be where programs or devices do not work", () => {
    const line = (at: string, options: string) => `30 24 0:26 / ${at} ${options} shared:9 - ext4 /dev/vda rw`;
    const mounts = [
      line("/", "rw"),
      line("/var", "rw,nodev"),
      line("/var/lib", "rw,nosuid"),
      line("/srv", "nodev,noexec"),
    ];
    const unfit = (base: string) => unfitMount(base, mounts.join("\n"));
    expect(unfit("/home/jails")).toBeUndefined();
    expect(unfit("/var/lib/fireteact/jails")).toBeUndefined();
    expect(unfit("/var/library")).toBe("/var is mounted nodev");
    expect(unfit("/srv")).toBe("/srv is mounted nodev and noexec");
  });
});

describe("the jailer", () => {
  it("is the one beside the binary, named as releases name theirs", () => {
    const place = directory();
    const binary = program(join(place, "v1/firecracker-v1.16.1-x86_64"));
    const plain = program(join(place, "v1/jailer"));
    expect(findJailer({ binary })).toBe(plain);
    const own = program(join(place, "v1/jailer-v1.16.1-x86_64"));
    expect(findJailer({ binary })).toBe(own);
    symlinkSync(binary, join(place, "firecracker"));
    expect(findJailer({ binary: join(place, "firecracker") })).toBe(own);
    const other = program(join(place, "other"));
    expect(findJailer({ binary, jailer: other })).toBe(other);
  });

  it.each([
    ["is missing", { jailer: "/absent/jailer" }, "JAILER_MISSING"],
    ["is of another release", { jailer: "jailer" }, "JAILER_UNUSABLE"],
  ])("that %s is refused, with the fix", async (_, wanted, code) => {
    const place = directory();
    const binary = program(join(place, "firecracker"), "Firecracker v1.16.1");
    program(join(place, "jailer"), "Jailer v1.15.0");
    const jailer = join(place, wanted.jailer);
    const error = await checkPrograms({ binary, jailer }, AbortSignal.timeout(10_000)).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code, hint: expect.stringContaining("Firecracker") });
  });

  it("of the same release is accepted", async () => {
    const place = directory();
    const binary = program(join(place, "firecracker"), "Firecracker v1.16.1");
    program(join(place, "jailer"), "Jailer v1.16.1");
    expect(await checkPrograms({ binary }, AbortSignal.timeout(10_000))).toBe("1.16.1");
  });

  it("gets no binary that needs libraries: there are none in a jail", async () => {
    expect(interpreterOf(process.execPath)).toMatch(/^\/.*ld-.*so/);
    expect(interpreterOf(import.meta.filename)).toBeUndefined();
    const jailer = program(join(directory(), "jailer"), "Jailer v1.16.1");
    const check = checkPrograms({ binary: process.execPath, jailer }, AbortSignal.timeout(10_000));
    await expect(check).rejects.toMatchObject({
      code: "JAILER_UNUSABLE",
      message: expect.stringContaining("libraries"),
    });
  });
});
