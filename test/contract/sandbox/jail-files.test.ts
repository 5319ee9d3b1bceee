import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { checkJails } from "../../../src/sandbox/firecracker/jail-check.ts";
import { canShow, furnish } from "../../../src/sandbox/firecracker/jail-files.ts";
import { jailPlaces } from "../../../src/sandbox/firecracker/jail-places.ts";
import { isRoot } from "../../support/firecracker/real.ts";
import { temporaryPlaces } from "../../support/sandboxes.ts";
import { smallDisk } from "../../support/small-disk.ts";

const UID = 83_500;
const HEX = "abcdef000000000000000001";
const LARGE = 40 * 2 ** 20;

async function world() {
  const { root, state } = await temporaryPlaces();
  mkdirSync(state);
  const vm = join(root, "vm");
  const file = (name: string, { mode = 0o644, bytes = 5 } = {}): string => {
    const path = join(state, name);
    writeFileSync(path, "", { mode });
    truncateSync(path, bytes);
    return path;
  };
  const read = (name: string, path: string) => ({ name, path, access: "read" as const });
  const write = (name: string, path: string) => ({ name, path, access: "write" as const });
  return { state, vm, file, read, write, jail: jailPlaces(join(state, "jails"), "/opt/firecracker", HEX) };
}

describe.skipIf(!isRoot)("files in a jail", () => {
  it("are links to what a name leads to, large ones too", async () => {
    const { state, vm, file, read, jail } = await world();
    const kernel = file("vmlinux", { bytes: LARGE });
    symlinkSync(kernel, join(state, "current"));
    const seen = await furnish(jail, vm, [read("kernel", join(state, "current"))], UID);
    expect(seen.get("kernel")).toBe("files/kernel");
    expect(statSync(join(jail.files, "kernel")).ino).toBe(statSync(kernel).ino);
    // What is shared keeps its owner: the monitor may read it, no more.
    expect(statSync(kernel)).toMatchObject({ uid: 0, mode: 0o100644 });
  });

  it("elsewhere are copied only when they are small, for the monitor's user alone", async () => {
    await using other = await smallDisk(64);
    const { vm, file, read } = await world();
    const jail = jailPlaces(other.path, "/opt/firecracker", HEX);
    await furnish(jail, vm, [read("initrd", file("initrd"))], UID);
    expect(statSync(join(jail.files, "initrd"))).toMatchObject({ uid: UID, gid: UID, mode: 0o100400, size: 5 });
  });

  it.each([
    ["a large one", "read", LARGE],
    ["a disk", "write", 5],
  ] as const)("are an error where %s would have to be copied, which says what to do", async (_, access, bytes) => {
    await using other = await smallDisk(64);
    const { vm, file, read, write } = await world();
    const jail = jailPlaces(other.path, "/opt/firecracker", HEX);
    const path = file("image", { bytes });
    const made = furnish(jail, vm, [access === "read" ? read("root", path) : write("root", path)], UID);
    await expect(made).rejects.toMatchObject({
      code: "JAIL_ELSEWHERE",
      message: expect.stringContaining("another file system"),
      hint: expect.stringContaining("host.jailDir"),
    });
    expect(readdirSync(jail.files)).toEqual([]);
  });

  it("that only root may read are refused, and so are names that lead elsewhere", async () => {
    const { vm, file, read, jail } = await world();
    const secret = file("secret", { mode: 0o600 });
    await expect(furnish(jail, vm, [read("kernel", secret)], UID)).rejects.toMatchObject({ code: "NOT_READABLE" });
    const named = jailPlaces(join(jail.directory, "other"), "/opt/firecracker", HEX);
    const wrong = furnish(named, vm, [read("../kernel", file("kernel"))], UID);
    await expect(wrong).rejects.toMatchObject({ code: "BAD_MACHINE" });
  });

  it("of the sandbox's own directory move into it", async () => {
    const { vm, read, jail } = await world();
    mkdirSync(vm);
    writeFileSync(join(vm, "initrd"), "secret", { mode: 0o600 });
    const seen = await furnish(jail, vm, [read("initrd", join(vm, "initrd"))], UID);
    expect(seen.get("initrd")).toBe("vm/initrd");
    expect(readFileSync(join(jail.vm, "initrd"), "utf8")).toBe("secret");
    expect(statSync(jail.vm)).toMatchObject({ uid: UID, mode: 0o40700 });
  });
});

describe.skipIf(!isRoot)("a place for jails", () => {
  it("is tried before it is used", async () => {
    await using other = await smallDisk(8);
    const { state } = await world();
    const base = join(state, "jails");
    const check = (at: string) =>
      checkJails({ base: at, sources: [join(state, "images")], programs: [] }, AbortSignal.timeout(10_000));
    expect(await check(base)).toMatchObject({ ok: true });
    expect(statSync(base).mode & 0o777).toBe(0o700);
    expect(await check(join(other.path, "jails"))).toMatchObject({
      ok: false,
      detail: expect.stringContaining("different file systems"),
      hint: expect.stringContaining("host.jailDir"),
    });
    expect(await canShow(state, base)).toBe(true);
    expect(readdirSync(base)).toEqual([]);
    expect(readdirSync(state).sort()).toEqual(["images", "jails"]);
  });
});
