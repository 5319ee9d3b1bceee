import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { systemClock } from "../../../../src/base/clock.ts";
import { AGENT_PORT } from "../../../../src/sandbox/qemu/command-line.ts";
import { connectQmp, type Qmp } from "../../../../src/sandbox/qemu/qmp.ts";
import { hostTscKhz } from "../../../../src/sandbox/qemu/tsc.ts";
import { type Described, Fault } from "./state.ts";

/** Milliseconds in which an emulator has long answered. */
const START = 20_000;

/** The guest that the requests describe, emulated by QEMU. */
export interface Guest {
  /** Leads to what listens in the guest, where something does. One for ever: the directory is closed to us later. */
  agent: Socket;
  isListening(): boolean;
}

/**
 * Boots exactly what was described: kernel, initrd, command line, drives in their order, the tap, a serial port for the
 * console. Emulation needs three things besides: the rate of the time stamp counter on the command line, a smaller
 * buffer for its code, and a virtio-serial port in place of vsock, which QEMU has only with the host kernel's help.
 *
 * @param onEnd Told the exit status that Firecracker would have.
 */
export async function bootGuest(described: Described, onEnd: (status: number) => void): Promise<Guest> {
  // The only directory that the monitor's user may write to.
  const directory = dirname((described.vsock?.["uds_path"] ?? "vm/vsock.sock") as string);
  const control = join(directory, "qmp.sock");
  const agent = join(directory, "agent.sock");
  const command = await commandOf(described, control, agent);
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], { stdio: ["ignore", 1, 2, 1] });
  const ended = new AbortController();
  child.once("exit", (code) => ended.abort(new Fault(`Microvm error: the emulator ended with ${code}`)));
  child.once("error", (error) => ended.abort(error));
  const qmp = await connected(control, AbortSignal.any([ended.signal, AbortSignal.timeout(START)]));
  let listening = false;
  let status = 1;
  qmp.onEvent(({ event, data }) => {
    if (event === "VSERPORT_CHANGE") listening = (data as { open: boolean }).open;
    // A reset of an x86 guest ends Firecracker; a guest that powers off stays.
    if (event === "SHUTDOWN" && (data as { reason: string }).reason === "guest-reset") {
      status = 0;
      child.kill("SIGKILL");
    }
  });
  const stream = connect(agent);
  await once(stream, "connect");
  // What the guest said last is read to its end first.
  stream.on("error", () => undefined);
  stream.resume();
  stream.once("close", () => onEnd(status));
  await qmp.execute("cont");
  return { agent: stream, isListening: () => listening };
}

async function connected(path: string, signal: AbortSignal): Promise<Qmp> {
  for (;;) {
    try {
      return await connectQmp(path, signal);
    } catch {
      signal.throwIfAborted();
      await systemClock.sleep(10, signal);
    }
  }
}

async function commandOf(
  { machine, boot, drives, interfaces, balloon, entropy }: Described,
  control: string,
  agent: string,
) {
  const khz = await hostTscKhz();
  const line = [boot?.["boot_args"], ...(khz === undefined ? [] : [`tsc_early_khz=${khz}`])].join(" ");
  const root = [...drives.values()].filter((drive) => drive["is_root_device"] === true);
  const others = [...drives.values()].filter((drive) => drive["is_root_device"] !== true);
  const rootWords = root.map((drive) => ` root=/dev/vda ${drive["is_read_only"] === true ? "ro" : "rw"}`).join("");
  return [
    "qemu-system-x86_64 -M microvm,x-option-roms=off,pic=off,isa-serial=on -accel tcg,tb-size=96 -cpu max".split(" "),
    "-nodefaults -no-user-config -display none -S -no-reboot -no-shutdown".split(" "),
    ["-smp", String(machine["vcpu_count"]), "-m", `${Number(machine["mem_size_mib"])}M`],
    ["-kernel", String(boot?.["kernel_image_path"])],
    boot?.["initrd_path"] === undefined ? [] : ["-initrd", boot["initrd_path"] as string],
    ["-append", line + rootWords],
    ["-qmp", `unix:${control},server=on,wait=off`],
    ["-add-fd", "fd=3,set=1", "-chardev", "file,id=console,path=/dev/fdset/1,append=on", "-serial", "chardev:console"],
    ["-device", "virtio-serial-device,max_ports=2", "-chardev", `socket,id=agent,path=${agent},server=on,wait=off`],
    ["-device", `virtserialport,id=agent,chardev=agent,name=${AGENT_PORT}`],
    ...[...root, ...others].map((drive) => [
      "-blockdev",
      JSON.stringify({
        driver: "raw",
        "node-name": `drive-${String(drive["drive_id"])}`,
        "read-only": drive["is_read_only"],
        file: { driver: "file", filename: drive["path_on_host"], "read-only": drive["is_read_only"] },
      }),
      "-device",
      `virtio-blk-device,drive=drive-${String(drive["drive_id"])}`,
    ]),
    ...[...interfaces.values()].map((one, index) => [
      "-netdev",
      `tap,id=net${index},ifname=${String(one["host_dev_name"])},script=no,downscript=no`,
      "-device",
      `virtio-net-device,netdev=net${index},mac=${String(one["guest_mac"])}`,
    ]),
    entropy === undefined ? [] : ["-device", "virtio-rng-device"],
    balloon === undefined ? [] : ["-device", "virtio-balloon-device,free-page-reporting=on"],
  ].flat();
}
