import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuestImage } from "../../../src/image/port.ts";

export interface Boot {
  console: string;
  /** What the guest wrote to the channel's port. */
  port: string;
  exitCode: number | null;
  stderr: string;
  /** Wall clock from the start of the virtual machine to its end. */
  milliseconds: number;
}

const QEMU = "qemu-system-x86_64";
const PORT = "org.fireteact.agent.0";

/** Boots an image under emulation, with a network card that leads nowhere, and collects what it says until it ends. */
export async function bootOnce(
  image: Pick<GuestImage, "rootfs" | "kernel" | "initrd">,
  scratch: string,
  { deadline = 60_000, kernelLine = "" }: { deadline?: number; kernelLine?: string } = {},
): Promise<Boot> {
  const directory = await mkdtemp(join(tmpdir(), "fireteact-boot-"));
  const consoleFile = join(directory, "console");
  const socketFile = join(directory, "port.sock");
  const started = performance.now();
  const child = spawn(QEMU, qemuArguments(image, scratch, consoleFile, socketFile, kernelLine), {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: deadline,
    killSignal: "SIGKILL",
  });
  let stderr = "";
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const closed = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  try {
    const ended = () => child.exitCode !== null || child.signalCode !== null;
    const [exitCode, port] = await Promise.all([closed, readAll(socketFile, ended)]);
    const milliseconds = performance.now() - started;
    return { console: await readFile(consoleFile, "utf8"), port, exitCode, stderr, milliseconds };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function readAll(path: string, ended: () => boolean): Promise<string> {
  while (!existsSync(path)) {
    if (ended()) return "";
    await sleep(5);
  }
  const socket = connect(path).setEncoding("utf8");
  let text = "";
  socket.on("data", (chunk) => (text += String(chunk)));
  // The machine's end may reset the connection.
  await new Promise<void>((resolve) => {
    socket.on("error", () => resolve());
    socket.on("close", () => resolve());
  });
  return text;
}

/** Without the host's clock rate on the kernel line a good part of emulated boots hang while measuring it. */
function clockRate(): number {
  const megahertz = /cpu MHz\s*:\s*([\d.]+)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return Math.round(Number(megahertz) * 1000);
}

function qemuArguments(
  image: Pick<GuestImage, "rootfs" | "kernel" | "initrd">,
  scratch: string,
  consoleFile: string,
  socketFile: string,
  kernelLine: string,
): string[] {
  const line = `console=hvc0 quiet loglevel=3 reboot=t panic=-1 tsc_early_khz=${clockRate()} fireteact.hostname=boot-once`;
  return [
    ["-M", "microvm,isa-serial=off,pic=off", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M"],
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ["-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-device,netdev=n0"],
    ["-kernel", image.kernel, "-initrd", image.initrd, "-append", `${line} ${kernelLine}`],
    ["-device", "virtio-serial-device,max_ports=4"],
    ["-chardev", `file,id=console,path=${consoleFile}`, "-device", "virtconsole,chardev=console"],
    ["-chardev", `socket,id=agent,path=${socketFile},server=on,wait=off`],
    ["-device", `virtserialport,chardev=agent,id=agent,name=${PORT}`],
    ["-blockdev", `driver=file,node-name=f0,filename=${image.rootfs},read-only=on,auto-read-only=off`],
    ["-blockdev", "driver=raw,node-name=d0,file=f0,read-only=on", "-device", "virtio-blk-device,drive=d0"],
    ["-blockdev", `driver=file,node-name=f1,filename=${scratch},cache.no-flush=on,discard=unmap`],
    ["-blockdev", "driver=raw,node-name=d1,file=f1", "-device", "virtio-blk-device,drive=d1"],
    ["-device", "virtio-rng-device"],
  ].flat();
}
