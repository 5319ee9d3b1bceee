import { FireteactError } from "../../base/errors.ts";
import { AGENT_SOCKET, QMP_SOCKET } from "../microvm/places.ts";

export type Accelerator = "kvm" | "tcg";

/** The name by which the agent finds its end of the channel in the guest. */
export const AGENT_PORT = "org.fireteact.agent.0";

/** Everything that differs from one guest to the next. Paths are absolute. */
export interface QemuMachine {
  binary: string;
  hex: string;
  accelerator: Accelerator;
  memoryMib: number;
  vcpus: number;
  kernel: string;
  initrd: string;
  kernelLine: string;
  /** Read-only root file system, shared by all guests. */
  rootfs: string;
  scratch: string;
  tap: string;
  mac: string;
}

/**
 * The command that runs a guest. It expects the sandbox's directory as working directory and the console as descriptor
 * 3. Five of the machine's eight virtio places are used.
 */
export function qemuCommand(machine: QemuMachine): string[] {
  return [
    [machine.binary, "-name", machine.hex],
    machineOptions(machine.accelerator),
    ["-smp", String(machine.vcpus), "-m", `${machine.memoryMib}M`],
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ["-kernel", machine.kernel, "-initrd", machine.initrd, "-append", machine.kernelLine],
    ["-qmp", `unix:${QMP_SOCKET},server=on,wait=off`],
    consoleAndChannel(),
    disk("root", machine.rootfs, { readOnly: true }),
    disk("scratch", machine.scratch, { readOnly: false }),
    network(machine.tap, machine.mac),
    ["-device", "virtio-rng-device"],
  ].flat();
}

/**
 * What is switched off is what a kernel would probe in vain. Emulation keeps the interval timer, since it has no timer
 * in the TSC, and the clock chip, whose absence costs the guest two seconds of waiting.
 */
export function machineOptions(accelerator: Accelerator): string[] {
  return accelerator === "kvm"
    ? "-M microvm,x-option-roms=off,pit=off,pic=off,isa-serial=off,rtc=off -accel kvm -cpu host".split(" ")
    : "-M microvm,x-option-roms=off,pic=off,isa-serial=off -accel tcg -cpu max".split(" ");
}

function consoleAndChannel(): string[] {
  return [
    ["-device", "virtio-serial-device,max_ports=4"],
    // The pipe to the shim, by descriptor: the monitor's user could not open it by name, and nobody can truncate it.
    ["-add-fd", "fd=3,set=1", "-chardev", "file,id=console,path=/dev/fdset/1,append=on"],
    ["-device", "virtconsole,chardev=console"],
    ["-chardev", `socket,id=agent,path=${AGENT_SOCKET},server=on,wait=off`],
    ["-device", `virtserialport,id=agent,chardev=agent,name=${AGENT_PORT}`],
  ].flat();
}

/** A raw file through the host's page cache. Scratch disks ignore the guest's flushes: nothing on them outlives it. */
function disk(name: string, path: string, { readOnly }: { readOnly: boolean }): string[] {
  const file = { driver: "file", filename: path, "node-name": `${name}-file`, "read-only": readOnly };
  const raw = { driver: "raw", file: `${name}-file`, "node-name": name, "read-only": readOnly };
  const cache = { direct: false, "no-flush": !readOnly };
  return [
    ["-blockdev", JSON.stringify({ ...file, cache, ...(readOnly ? {} : { discard: "unmap" }) })],
    ["-blockdev", JSON.stringify({ ...raw, cache, ...(readOnly ? {} : { discard: "unmap" }) })],
    ["-device", `virtio-blk-device,drive=${name},serial=${name}`],
  ].flat();
}

function network(tap: string, mac: string): string[] {
  if (!/^[\w.-]{1,15}$/.test(tap)) throw bad("network interface", tap);
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) throw bad("MAC address", mac);
  return [
    ["-netdev", `tap,id=net,ifname=${tap},script=no,downscript=no`],
    ["-device", `virtio-net-device,netdev=net,mac=${mac}`],
  ].flat();
}

const bad = (what: string, value: string): FireteactError =>
  new FireteactError("BAD_MACHINE", `This is no name of a ${what}: ${JSON.stringify(value)}`);
