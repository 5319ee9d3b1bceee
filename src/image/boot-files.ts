import { readFile } from "node:fs/promises";
import { buildInitrd, readBusybox } from "./build/initrd.ts";
import { isMissing, WHOLE_PROGRAM } from "./build/top.ts";
import { type GuestKernel, guestKernel, type KernelOptions } from "./kernel/debian.ts";
import { GUEST_MODULES, loadOrder } from "./kernel/modules.ts";

/** What starts an image that brings no kernel of its own. */
export interface BootFiles {
  kernel: GuestKernel;
  initrd: Buffer;
}

/** Debian's kernel, and the initramfs with its modules and this program's first script. */
export async function bootFiles(initFile: string, options: KernelOptions): Promise<BootFiles> {
  const busybox = await readBusybox();
  const init = await readFile(initFile).catch(isMissing(initFile, WHOLE_PROGRAM));
  const kernel = await guestKernel(options);
  const modules = await loadOrder(kernel.modules, GUEST_MODULES);
  return { kernel, initrd: buildInitrd({ busybox, init, modules, rootfsType: "ext4" }) };
}
