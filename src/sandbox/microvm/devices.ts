import { chmod, stat } from "node:fs/promises";
import { FireteactError, ignore } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";

const HINTS: Record<string, string> = {
  "/dev/net/tun": "Load the kernel module tun",
  "/dev/kvm":
    "Switch on virtualisation in the firmware, or nested virtualisation where this host is a virtual machine itself, and load the module (modprobe kvm_intel or kvm_amd); without it driver: qemu emulates guests",
};

/**
 * Lets the monitors' users open the devices they need. Where device nodes are looked after, they can: everybody may open
 * /dev/net/tun (which gives nothing without a tap that is his), and a group or everybody /dev/kvm.
 *
 * @returns the groups that a monitor's user has to be in
 * @throws FireteactError `DEVICE_MISSING`, `DEVICE_CLOSED`
 */
export async function openDevices(devices: readonly string[], log: Logger): Promise<number[]> {
  const groups: number[] = [];
  for (const path of devices) {
    const node = await stat(path).catch(ignore("ENOENT"));
    if (node === undefined)
      throw new FireteactError("DEVICE_MISSING", `There is no ${path}`, { hint: HINTS[path] ?? "" });
    if ((node.mode & 0o006) === 0o006) continue;
    if ((node.mode & 0o060) === 0o060 && node.gid !== 0) {
      groups.push(node.gid);
    } else {
      await chmod(path, 0o666).catch((cause: unknown) => {
        throw closed(path, cause);
      });
      log.info({ device: path }, "opened a device to the users of virtual machine monitors");
    }
  }
  return groups;
}

const closed = (path: string, cause: unknown): FireteactError =>
  new FireteactError("DEVICE_CLOSED", `Virtual machine monitors may not open ${path}`, {
    cause,
    hint: `They run as users without rights: let everybody (chmod 0666 ${path}) or a group open it`,
  });
