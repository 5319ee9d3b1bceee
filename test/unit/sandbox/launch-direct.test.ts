import { expect, it } from "vitest";
import { createDirectLaunch } from "../../../src/sandbox/firecracker/launch-direct.ts";
import type { SandboxPlaces } from "../../../src/sandbox/microvm/places.ts";
import type { SandboxRecord } from "../../../src/sandbox/microvm/record.ts";
import type { LaunchRequest } from "../../../src/sandbox/microvm/shim.ts";

const hex = "0123456789abcdef01234567";
const places = (): SandboxPlaces => ({
  directory: `/run/fireteact/sandboxes/${hex}`,
  vm: `/run/fireteact/sandboxes/${hex}/vm`,
  qmp: "",
  agent: "",
  disks: `/var/lib/fireteact/disks/${hex}`,
});
const identity = { pid: 100, start: 1, boot: "b" };

it("starts the monitor confined, with what has to be taken apart on record before", async () => {
  const order: string[] = [];
  let request: LaunchRequest | undefined;
  const launch = createDirectLaunch({
    places,
    cgroups: {
      problem: () => undefined,
      make: () => ["/sys/fs/cgroup/fireteact/own"],
      settings: () => ({ version: 2, parent: "fireteact", values: [] }),
      list: () => [hex],
      remove: async () => undefined,
    },
    launcher: {
      launch: async (given) => {
        request = given;
        given.onIdentity(identity);
        order.push("started");
      },
    },
  });
  const recorded: Partial<SandboxRecord>[] = [];
  const plan = {
    hex,
    own: places(),
    binary: "/usr/bin/firecracker",
    files: [{ name: "kernel", path: "/images/vmlinux", access: "read" as const }],
    uid: 70_001,
    groups: [108],
    namespace: "/run/netns/guest",
    limits: { memoryMib: 2_304, vcpus: 2, tasks: 64, fileBytes: 4_096 },
    consoleBytes: 1_024,
    record: (change: Partial<SandboxRecord>) => {
      order.push(...Object.keys(change));
      recorded.push(change);
    },
  };
  const prepared = await launch.prepare(plan, AbortSignal.timeout(1_000));
  expect(prepared.seen("kernel")).toBe("/images/vmlinux");
  expect(() => prepared.seen("initrd")).toThrow("no file initrd");
  await prepared.start(["--level", "Warn"]);

  expect(order).toEqual(["cgroups", "process", "started"]);
  expect(recorded).toEqual([{ cgroups: ["/sys/fs/cgroup/fireteact/own"] }, { process: identity }]);
  const command = request?.command.join(" ");
  expect(command).toContain("--net=/run/netns/guest");
  expect(command).toContain("--reuid=70001");
  expect(command).toContain("--no-new-privs");
  expect(command).toMatch(new RegExp(`-- /usr/bin/firecracker --id ${hex} --api-sock vm/api.sock --level Warn$`));
  expect(launch.sockets(hex).api).toBe(`/run/fireteact/sandboxes/${hex}/vm/api.sock`);
  expect(launch.list()).toEqual([hex]);
});
