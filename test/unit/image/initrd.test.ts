import { writeFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { writeCpio } from "../../../src/image/build/cpio.ts";
import { buildInitrd, readBusybox } from "../../../src/image/build/initrd.ts";
import { temporaryDirectory } from "./temporary.ts";

interface Record {
  mode: number;
  device: string;
  content: string;
}

/** Reads an archive as the kernel does. */
function readCpio(archive: Buffer): Map<string, Record> {
  const records = new Map<string, Record>();
  const up = (offset: number) => Math.ceil(offset / 4) * 4;
  for (let at = 0; at < archive.length; ) {
    expect(archive.toString("latin1", at, at + 6)).toBe("070701");
    const field = (index: number) =>
      Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const start = at + 110;
    const name = archive.toString("utf8", start, start + field(11) - 1);
    const body = up(start + field(11));
    const content = archive.toString("latin1", body, body + field(6));
    if (name !== "TRAILER!!!") records.set(name, { mode: field(1), device: `${field(9)}:${field(10)}`, content });
    at = up(body + field(6));
  }
  return records;
}

describe("the initramfs archive", () => {
  it("holds directories, files, links and devices", () => {
    const records = readCpio(
      writeCpio([
        { path: "bin", type: "directory", mode: 0o755 },
        { path: "bin/tool", type: "file", mode: 0o755, content: Buffer.from("12345") },
        { path: "bin/sh", type: "link", target: "tool" },
        { path: "console", type: "device", mode: 0o600, major: 5, minor: 1 },
      ]),
    );
    expect(Object.fromEntries(records)).toEqual({
      bin: { mode: 0o040755, device: "0:0", content: "" },
      "bin/tool": { mode: 0o100755, device: "0:0", content: "12345" },
      "bin/sh": { mode: 0o120777, device: "0:0", content: "tool" },
      console: { mode: 0o020600, device: "5:1", content: "" },
    });
  });

  const parts = {
    busybox: Buffer.from("busybox"),
    init: Buffer.from("#!/bin/sh\n"),
    modules: Array.from({ length: 11 }, (_, index) => ({ name: `m${index}`, content: Buffer.from(`${index}`) })),
    rootfsType: "ext4" as const,
  };

  it("is the same for the same parts", () => {
    expect(buildInitrd(parts).equals(buildInitrd(parts))).toBe(true);
  });

  it("names modules so that their order by name is their order of loading", () => {
    const names = [...readCpio(buildInitrd(parts)).keys()].filter((path) => path.startsWith("modules/"));
    expect(names.toSorted()).toEqual(
      parts.modules.map(({ name }, i) => `modules/${String(i).padStart(2, "0")}-${name}.ko`),
    );
  });

  it("tells init the type of the root file system", () => {
    expect(readCpio(buildInitrd(parts)).get("rootfs-type")?.content).toBe("ext4\n");
  });
});

describe("busybox", () => {
  it("is refused where it needs libraries, with the package to install", async () => {
    await expect(readBusybox(process.execPath)).rejects.toMatchObject({
      code: "TOOL_MISSING",
      hint: "apt-get install busybox-static",
    });
  });

  it("is asked for where it is missing, or something else has its name", async () => {
    const directory = await temporaryDirectory();
    await expect(readBusybox(`${directory}/busybox`)).rejects.toMatchObject({ code: "TOOL_MISSING" });
    await writeFile(`${directory}/busybox`, "#!/bin/sh\n");
    await expect(readBusybox(`${directory}/busybox`)).rejects.toMatchObject({ code: "TOOL_MISSING" });
  });
});
