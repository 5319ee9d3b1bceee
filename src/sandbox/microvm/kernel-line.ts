import { FireteactError } from "../../base/errors.ts";
import type { GuestNetwork } from "../../network/port.ts";

export interface KernelLine {
  network: Pick<GuestNetwork, "guestAddress" | "gateway" | "nameservers">;
  hostname: string;
  /** Words for the kernel itself, as the owner wrote them. Absent: for a console on virtio-serial. */
  own?: readonly string[];
  /** What the machine needs besides, word by word. */
  extra?: readonly string[];
}

const OWN = ["console=hvc0", "quiet", "loglevel=3", "reboot=t", "panic=-1"];

/**
 * The kernel's command line for a guest. The first process of the image's initrd reads the `fireteact.` words. A panic
 * ends in the same reset as a clean end, so that no guest hangs on one.
 */
export function kernelLine({ network, hostname, own = OWN, extra = [] }: KernelLine): string {
  const words = [
    `fireteact.address=${network.guestAddress}`,
    `fireteact.gateway=${network.gateway}`,
    `fireteact.dns=${network.nameservers.join(",")}`,
    `fireteact.hostname=${hostname}`,
    ...extra,
  ];
  for (const word of words) {
    // A space or quote would let one value set others.
    if (!/^[\w.:/,=+-]+$/.test(word)) throw bad(word);
  }
  const line = [...own, ...words].join(" ");
  if (!/^[\x20-\x7e]*$/.test(line)) throw bad(line);
  return line;
}

const bad = (word: string): FireteactError =>
  new FireteactError("BAD_KERNEL_ARGUMENT", `This cannot stand on a kernel command line: ${JSON.stringify(word)}`);
