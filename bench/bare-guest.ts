import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { encodeFrame } from "../src/channel/frames.ts";
import { OLDEST_VERSION, PROTOCOL_VERSION } from "../src/channel/messages.ts";
import type { GuestImage, RootDisks } from "../src/image/port.ts";
import type { Network } from "../src/network/port.ts";
import { kernelLine } from "../src/sandbox/microvm/kernel-line.ts";
import { AGENT_SOCKET } from "../src/sandbox/microvm/places.ts";
import { qemuCommand } from "../src/sandbox/qemu/command-line.ts";
import type { HostMachine } from "../src/sandbox/qemu/machine.ts";
import { scratchDirectory, sharedNow } from "./harness.ts";

export interface BareGuest {
  image: GuestImage;
  machine: HostMachine;
  network: Network;
  disks: RootDisks;
  memoryMib: number;
}

const NOT_BARE = ["-qmp", "-sandbox"];
const GIVE_UP = 120_000;
/** Replaces itself by the monitor; a millisecond. */
const ENTER = "nsenter";

/** Boots the guest with QEMU alone; milliseconds from the spawn to the first byte on the agent's port. */
export async function bootBare({ image, machine, network, disks, memoryMib }: BareGuest, hex: string): Promise<number> {
  using directory = scratchDirectory();
  mkdirSync(join(directory.path, "vm"));
  const signal = AbortSignal.timeout(GIVE_UP);
  const scratch = await disks.clone(hex, directory.path, signal);
  const guest = await network.attach(hex, "bench", signal);
  const command = qemuCommand({
    hex,
    binary: machine.binary,
    accelerator: machine.accelerator,
    memoryMib,
    vcpus: 1,
    kernel: image.kernel,
    initrd: image.initrd,
    kernelLine: kernelLine({ network: guest, hostname: `bench-${hex}`, extra: machine.kernelWords }),
    rootfs: image.rootfs,
    scratch,
    tap: guest.tap,
    mac: guest.guestMac,
  }).filter((word, index, words) => !NOT_BARE.includes(word) && !NOT_BARE.includes(words[index - 1] ?? ""));
  const console = openSync(join(directory.path, "console"), "w");
  const began = sharedNow();
  const monitor = spawn(ENTER, [`--net=${guest.namespace}`, "--", ...command], {
    cwd: directory.path,
    stdio: ["ignore", console, console, console],
    // As the product's monitors: Linux shares processors out by session first.
    detached: true,
  });
  closeSync(console);
  const ended = new Promise<void>((resolve) => monitor.once("exit", () => resolve()));
  try {
    await firstByte(join(directory.path, AGENT_SOCKET), () => monitor.exitCode !== null);
    return sharedNow() - began;
  } finally {
    monitor.kill("SIGKILL");
    await ended;
    await network.release(hex);
  }
}

/** Says hello as soon as there is somebody to listen, and waits for whatever is answered. */
async function firstByte(path: string, gone: () => boolean): Promise<void> {
  const end = sharedNow() + GIVE_UP;
  const socket = await dial(path, () => gone() || sharedNow() > end);
  const nonce = "00112233445566778899aabb";
  socket.write(encodeFrame({ kind: "hello", nonce, version: PROTOCOL_VERSION, oldest: OLDEST_VERSION, next: 0 }));
  await new Promise<void>((resolve, reject) => {
    socket.once("data", () => resolve());
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the bare guest ended before its agent spoke")));
    socket.setTimeout(GIVE_UP, () => reject(new Error("the bare guest's agent did not speak")));
  });
  socket.destroy();
}

async function dial(path: string, hopeless: () => boolean): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    const connected = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    if (connected) return socket;
    if (hopeless()) throw new Error("the bare monitor's socket did not appear");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
