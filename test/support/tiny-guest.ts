import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildInitrd, readBusybox } from "../../src/image/build/initrd.ts";
import { guestKernel } from "../../src/image/kernel/debian.ts";
import { loadOrder } from "../../src/image/kernel/modules.ts";
import type { GuestImage, Images, RootDisks } from "../../src/image/port.ts";

/** Kept between runs: the kernel is a download of 27 MB. */
const CACHE = join(import.meta.dirname, "../../.cache/guest-kernel");
const MODULES = ["virtio_mmio", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng"];

/**
 * First and only process of the smallest guest: says `up` on its channel, then obeys lines. `echo TEXT` answers TEXT,
 * `reset` ends the guest, `panic` ends it by a kernel panic, `flood` writes to the console without end, `scratch BYTES`
 * writes to the scratch disk, `fill` until it takes no more, `memory MIB` takes so much memory, `root` tries to write to the read-only disk, `line` tells the kernel's command line, `file PATH` a file of its own.
 */
const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
exec </dev/console >/dev/console 2>&1
echo "tiny guest on the console"
port=
while [ -z "$port" ]; do
  for name in /sys/class/virtio-ports/*/name; do
    read -r value <"$name" && [ "$value" = org.fireteact.agent.0 ] && port=\${name%/name} && port=/dev/\${port##*/}
  done
  [ -n "$port" ] || usleep 10000
done
until exec 3<>"$port"; do usleep 10000; done
echo up >&3
while :; do
  if ! read -r verb rest <&3; then usleep 20000; continue; fi
  case $verb in
    echo) echo "$rest" >&3 ;;
    reset) echo b >/proc/sysrq-trigger ;;
    panic) echo c >/proc/sysrq-trigger ;;
    flood) while :; do echo "flood flood flood flood flood flood flood flood flood flood flood flood flood flood flood"; done & ;;
    scratch) dd if=/dev/zero of=/dev/vdb bs=1 count="$rest" 2>/dev/null && sync && echo written >&3 ;;
    memory) dd if=/dev/zero of=/eaten bs=1M count="$rest" 2>/dev/null; echo eaten >&3 ;;
    fill) dd if=/dev/zero of=/dev/vdb bs=65536 2>/dev/null; sync; echo full >&3 ;;
    root) if (echo x >/dev/vda) 2>/dev/null; then echo written; else echo refused; fi >&3 ;;
    line) cat /proc/cmdline >&3 ;;
    file) echo "$(stat -c %a:%u "/files$rest") $(cat "/files$rest")" >&3 ;;
  esac
done
`;

/**
 * An image of the guest above, a pristine scratch disk, and the ports that hand them out. They lie in `directory`, which
 * everybody must be able to enter.
 */
export async function tinyGuest(directory: string): Promise<{ image: GuestImage; images: Images; disks: RootDisks }> {
  const signal = AbortSignal.timeout(120_000);
  const places = { state: CACHE, run: CACHE };
  await mkdir(CACHE, { recursive: true });
  const kernel = await guestKernel({ places, signal, progress: () => undefined });
  const image: GuestImage = {
    digest: "sha256:tiny",
    rootfs: join(directory, "root.img"),
    rootfsType: "ext4",
    kernel: join(directory, "vmlinux"),
    initrd: join(directory, "initrd"),
    kernelVersion: kernel.release,
  };
  // Monitors run as users who need not be able to enter the checkout.
  await copyFile(kernel.vmlinux, image.kernel);
  const modules = await loadOrder(kernel.modules, MODULES);
  const parts = { busybox: await readBusybox(), init: Buffer.from(INIT), modules, rootfsType: image.rootfsType };
  await writeFile(image.initrd, buildInitrd(parts));
  await writeFile(image.rootfs, Buffer.alloc(1024 * 1024));
  const pristine = join(directory, "scratch.img");
  await writeFile(pristine, Buffer.alloc(1024 * 1024));
  return {
    image,
    images: {
      resolve: async () => image,
      verify: async () => undefined,
      isRemote: () => false,
      list: async () => [image],
    },
    disks: {
      clone: async (_, target) => {
        const path = join(target, "scratch.img");
        await copyFile(pristine, path);
        return path;
      },
    },
  };
}
