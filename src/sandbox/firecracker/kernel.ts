import { open } from "node:fs/promises";
import { FireteactError } from "../../base/errors.ts";

const CHUNK = 4 * 1024 * 1024;
const X86_64 = 62;
const MACHINES: Record<number, string> = { 3: "32-bit x86", 40: "32-bit ARM", 183: "aarch64", 243: "RISC-V" };

/**
 * Makes sure that Firecracker can boot the kernel, and that the guest will find its devices: the driver of its bus is in
 * the kernel, or in an initrd that we can look into.
 *
 * @throws FireteactError `KERNEL_FORMAT`, `KERNEL_ARCHITECTURE`, `KERNEL_NO_VIRTIO_MMIO`
 */
export async function checkKernel(kernel: string, initrd: string): Promise<void> {
  const head = await firstBytes(kernel);
  if (head.toString("latin1", 0, 4) !== "\u007fELF") {
    throw new FireteactError("KERNEL_FORMAT", `${kernel} is no uncompressed kernel`, {
      hint: "Firecracker boots an ELF file (vmlinux), not a bzImage (vmlinuz): extract it, or leave kernelPath out to take the image's",
    });
  }
  const machine = head.readUInt16LE(18);
  if (machine !== X86_64) {
    const found = MACHINES[machine] ?? `machine ${machine}`;
    throw new FireteactError("KERNEL_ARCHITECTURE", `${kernel} is a kernel for ${found}, not for x86-64`, {
      hint: "Name the kernel of this architecture in firecracker.kernelPath, or leave it out to take the image's",
    });
  }
  if ((await contains(kernel, "virtio-mmio")) || (await isCompressed(initrd))) return;
  if (await contains(initrd, "virtio_mmio")) return;
  throw new FireteactError(
    "KERNEL_NO_VIRTIO_MMIO",
    `${kernel} has no driver for virtio-mmio, and neither has ${initrd}`,
    {
      hint: "Take a kernel with CONFIG_VIRTIO_MMIO=y, name an initrd with that module in firecracker.initrdPath, or leave kernelPath out to take the image's",
    },
  );
}

async function firstBytes(path: string): Promise<Buffer> {
  await using file = await open(path, "r");
  const { buffer } = await file.read(Buffer.alloc(64), 0, 64, 0);
  return buffer;
}

/** A compressed initrd hides what is in it; an archive says what it is in its first bytes. */
async function isCompressed(path: string): Promise<boolean> {
  return !(await firstBytes(path)).toString("latin1").startsWith("0707");
}

async function contains(path: string, text: string): Promise<boolean> {
  await using file = await open(path, "r");
  const buffer = Buffer.alloc(CHUNK);
  for (let at = 0; ; at += CHUNK - text.length) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK, at);
    if (buffer.subarray(0, bytesRead).includes(text)) return true;
    if (bytesRead < CHUNK) return false;
  }
}
