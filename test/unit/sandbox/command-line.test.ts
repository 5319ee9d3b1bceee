import { describe, expect, it } from "vitest";
import { confine } from "../../../src/sandbox/microvm/confine.ts";
import { kernelLine } from "../../../src/sandbox/microvm/kernel-line.ts";
import { type QemuMachine, qemuCommand } from "../../../src/sandbox/qemu/command-line.ts";

const machine: QemuMachine = {
  binary: "qemu-system-x86_64",
  hex: "abcdef000000000000000001",
  accelerator: "tcg",
  memoryMib: 2048,
  vcpus: 2,
  kernel: "/images/vmlinux",
  initrd: "/images/initrd",
  kernelLine: "console=hvc0 fireteact.dns=1.1.1.1,8.8.8.8",
  rootfs: "/images/root,fs.img",
  scratch: '/disks/"scratch".img',
  tap: "tap0",
  mac: "06:00:ac:1f:00:02",
};

/** Values of an option, in their order. */
const values = (command: string[], option: string): string[] =>
  command.filter((_, index) => command[index - 1] === option);
const devices = (command: string[]): string[] => values(command, "-device").map((value) => value.split(",")[0] ?? "");

describe("the command that runs a guest", () => {
  const command = qemuCommand(machine);

  it("uses the microvm machine with nothing that was not asked for", () => {
    expect(command[0]).toBe("qemu-system-x86_64");
    expect(command).toEqual(expect.arrayContaining(["-nodefaults", "-no-user-config", "-no-reboot"]));
    expect(values(command, "-display")).toEqual(["none"]);
    expect(values(command, "-m")).toEqual(["2048M"]);
    expect(values(command, "-smp")).toEqual(["2"]);
    expect(values(command, "-append")).toEqual([machine.kernelLine]);
  });

  it("switches QEMU's sandbox on, with everything denied that it can deny", () => {
    expect(values(command, "-sandbox")).toEqual([
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]);
  });

  it("has at most eight virtio devices, and no file name in a place where a comma means something", () => {
    const virtio = devices(command).filter((name) => name.endsWith("-device"));
    expect(virtio).toEqual([
      "virtio-serial-device",
      "virtio-blk-device",
      "virtio-blk-device",
      "virtio-net-device",
      "virtio-rng-device",
    ]);
    for (const option of ["-device", "-chardev", "-netdev", "-qmp", "-add-fd"]) {
      for (const value of values(command, option)) expect(value).not.toMatch(/images|disks/);
    }
  });

  it("gives the shared image read-only and first, the scratch disk without flushes and second", () => {
    const nodes = values(command, "-blockdev").map((text) => JSON.parse(text) as Record<string, unknown>);
    const root = nodes.filter((node) => String(node["node-name"]).startsWith("root"));
    const scratch = nodes.filter((node) => String(node["node-name"]).startsWith("scratch"));
    expect(root).toHaveLength(2);
    for (const node of root) expect(node).toMatchObject({ "read-only": true, cache: { "no-flush": false } });
    for (const node of scratch) expect(node).toMatchObject({ "read-only": false, cache: { "no-flush": true } });
    expect(root[0]).toMatchObject({ driver: "file", filename: "/images/root,fs.img" });
    expect(scratch[0]).toMatchObject({ driver: "file", filename: '/disks/"scratch".img' });
    const disks = values(command, "-device").filter((value) => value.startsWith("virtio-blk"));
    expect(disks.map((value) => /drive=(\w+)/.exec(value)?.[1])).toEqual(["root", "scratch"]);
  });

  it("has the agent's port by its name, and both sockets in the directory that is taken away", () => {
    expect(command.join(" ")).toContain("name=org.fireteact.agent.0");
    expect(values(command, "-qmp")[0]).toMatch(/^unix:vm\/qmp\.sock,server=on,wait=off$/);
    expect(values(command, "-chardev").join(" ")).toContain("path=vm/agent.sock,server=on,wait=off");
  });

  it("keeps timer and clock chip under emulation, and drops them with KVM", () => {
    const kvm = qemuCommand({ ...machine, accelerator: "kvm" });
    expect(values(command, "-accel")).toEqual(["tcg"]);
    expect(values(command, "-M")[0]).not.toMatch(/pit=off|rtc=off/);
    expect(values(kvm, "-accel")).toEqual(["kvm"]);
    expect(values(kvm, "-cpu")).toEqual(["host"]);
    expect(values(kvm, "-M")[0]).toMatch(/pit=off.*rtc=off/);
  });

  it.each([
    { tap: "tap0,script=/bin/sh" },
    { tap: "a-name-that-is-too-long" },
    { mac: "06:00:ac:1f:00:02,x=y" },
    { mac: "06" },
  ])("refuses what would add options: %j", (change) => {
    expect(() => qemuCommand({ ...machine, ...change })).toThrow(/is no name of a/);
  });
});

describe("the command's confinement", () => {
  const confined = confine(["vmm", "--option"], { namespace: "/run/netns/x", uid: 70001, groups: [], fileBytes: 4096 });

  it("enters the namespace first, gives up everything last, and ends in the command", () => {
    const order = ["nsenter", "prlimit", "setpriv", "vmm"].map((word) => confined.indexOf(word));
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(order[0]).toBe(0);
    expect(confined.slice(-3)).toEqual(["--", "vmm", "--option"]);
  });

  it("leaves no capability, group, core file, locked memory or larger file", () => {
    expect(confined).toEqual(
      expect.arrayContaining([
        "--net=/run/netns/x",
        "--reuid=70001",
        "--regid=70001",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--fsize=4096",
        "--core=0",
        "--memlock=0",
      ]),
    );
  });

  it("keeps the groups of devices where there are some", () => {
    const grouped = confine(["vmm"], { namespace: "/n", uid: 1, groups: [104, 36], fileBytes: 1 });
    expect(grouped).toContain("--groups=104,36");
    expect(grouped).not.toContain("--clear-groups");
  });
});

describe("the kernel's command line", () => {
  const network = { guestAddress: "172.31.0.2/30", gateway: "172.31.0.1", nameservers: ["1.1.1.1", "8.8.8.8"] };

  it("tells the guest its network and name, and ends a panic in a reset", () => {
    expect(kernelLine({ network, hostname: "pool-abc", extra: ["tsc_early_khz=2000000"] })).toBe(
      "console=hvc0 quiet loglevel=3 reboot=t panic=-1 fireteact.address=172.31.0.2/30 fireteact.gateway=172.31.0.1 " +
        "fireteact.dns=1.1.1.1,8.8.8.8 fireteact.hostname=pool-abc tsc_early_khz=2000000",
    );
  });

  it("may have no name servers", () => {
    expect(kernelLine({ network: { ...network, nameservers: [] }, hostname: "h" })).toContain(" fireteact.dns= ");
  });

  it.each(["a b", "a init=/bin/sh", 'a"b', "a\nb", "ä"])(
    "refuses a host name that would set other words: %j",
    (hostname) => {
      expect(() => kernelLine({ network, hostname })).toThrow(/cannot stand on a kernel command line/);
    },
  );
});
