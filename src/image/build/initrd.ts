import { readFile } from "node:fs/promises";
import { FireteactError, systemCode } from "../../base/errors.ts";
import type { KernelModule } from "../kernel/modules.ts";
import type { GuestImage } from "../port.ts";
import { type CpioEntry, writeCpio } from "./cpio.ts";

export interface InitrdParts {
  /** A statically linked busybox. */
  busybox: Buffer;
  /** The script that runs as the first process. */
  init: Buffer;
  modules: readonly KernelModule[];
  rootfsType: GuestImage["rootfsType"];
}

const DIRECTORIES = ["bin", "dev", "proc", "sys", "lower", "scratch", "root", "modules"];
/** What the script calls. busybox would find its applets itself, but only once /proc is mounted. */
const APPLETS = ["sh", "mount", "insmod", "usleep", "mkdir", "ip", "switch_root"];

/** The initramfs of a guest, not compressed: unpacking costs more under emulation than reading. */
export function buildInitrd({ busybox, init, modules, rootfsType }: InitrdParts): Buffer {
  const entries: CpioEntry[] = [
    ...DIRECTORIES.map((path) => ({ path, type: "directory" as const, mode: 0o755 })),
    // Where the kernel's console driver is a module there is no /dev/console before it is loaded.
    { path: "dev/console", type: "device", mode: 0o600, major: 5, minor: 1 },
    { path: "bin/busybox", type: "file", mode: 0o755, content: busybox },
    ...APPLETS.map((name) => ({ path: `bin/${name}`, type: "link" as const, target: "busybox" })),
    { path: "init", type: "file", mode: 0o755, content: init },
    { path: "rootfs-type", type: "file", mode: 0o644, content: Buffer.from(`${rootfsType}\n`) },
    // Numbered, since the script loads them in the order of their names.
    ...modules.map(({ name, content }, index) => ({
      path: `modules/${String(index).padStart(2, "0")}-${name}.ko`,
      type: "file" as const,
      mode: 0o644,
      content,
    })),
  ];
  return writeCpio(entries);
}

/** Reads the host's static busybox; says what to install when there is none. */
export async function readBusybox(path = "/bin/busybox"): Promise<Buffer> {
  const content = await readFile(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") throw noBusybox(`${path} is missing`, error);
    throw error;
  });
  if (content.toString("latin1", 0, 5) !== "\x7fELF\x02") throw noBusybox(`${path} is no 64-bit program`);
  if (isDynamic(content)) throw noBusybox(`${path} is linked dynamically`);
  return content;
}

/** Whether an ELF file names an interpreter (PT_INTERP), which the initramfs does not have. */
function isDynamic(elf: Buffer): boolean {
  const table = Number(elf.readBigUInt64LE(0x20));
  const size = elf.readUInt16LE(0x36);
  const count = elf.readUInt16LE(0x38);
  return Array.from({ length: count }, (_, index) => elf.readUInt32LE(table + index * size)).includes(3);
}

const noBusybox = (why: string, cause?: unknown): FireteactError =>
  new FireteactError("TOOL_MISSING", `The guest's first programs come from a static busybox, but ${why}`, {
    hint: "apt-get install busybox-static",
    cause,
  });
