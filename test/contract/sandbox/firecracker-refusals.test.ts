import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { unixRequest } from "../../../src/base/unix-http.ts";
import { installStandIn } from "../../support/firecracker/install.ts";
import { realBinary } from "../../support/firecracker/real.ts";
import { temporaryPlaces, until } from "../../support/sandboxes.ts";

const REAL = realBinary("FIRECRACKER_BIN");
const monitors = [["stand-in", undefined], ...(REAL === undefined ? [] : [["real one", REAL] as const])] as const;

/** A monitor that was started and told nothing; it ends with the test. */
async function monitor(real: string | undefined) {
  const { root } = await temporaryPlaces();
  const binary = real ?? (await installStandIn(join(root, "install"))).binary;
  const socketPath = join(root, "api.sock");
  const child = spawn(binary, ["--id", "a-1", "--api-sock", socketPath], { cwd: root, stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  await until(() => unixRequest({ socketPath, path: "/" }).then(Boolean, () => false));
  for (const name of ["kernel", "disk"]) writeFileSync(join(root, name), Buffer.alloc(4_096));
  return async (call: string, body?: unknown): Promise<{ status: number; body: string }> => {
    const [method = "", path = ""] = call.split(" ");
    const sent = body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) };
    return await unixRequest({ socketPath, method, path, ...sent });
  };
}

const machine = { vcpu_count: 1, mem_size_mib: 128 };
const drive = { drive_id: "scratch", is_root_device: false, is_read_only: true, path_on_host: "disk" };
const boot = { kernel_image_path: "kernel", boot_args: "quiet" };
const snapshot = { snapshot_path: "snap", mem_backend: { backend_type: "File", backend_path: "mem" } };

/** Before a guest is started: what is refused. */
const REFUSED: [call: string, body: unknown, why: string][] = [
  ["PUT /machine-config", { ...machine, vcpu_count: 0 }, "no processor"],
  ["PUT /machine-config", { ...machine, vcpu_count: 33 }, "too many processors"],
  ["PUT /machine-config", { ...machine, vcpu_count: 3, smt: true }, "threads in pairs, and three"],
  ["PUT /machine-config", { ...machine, mem_size_mib: 0 }, "no memory"],
  [
    "PUT /machine-config",
    { ...machine, mem_size_mib: 129, huge_pages: "2M" },
    "memory that is no multiple of its pages",
  ],
  ["PUT /machine-config", { vcpu_count: 1 }, "a key that is missing"],
  ["PUT /machine-config", { ...machine, memory: 1 }, "a key that is unknown"],
  ["PUT /machine-config", { ...machine, vcpu_count: "1" }, "text for a number"],
  ["PUT /machine-config", "{", "what is no JSON"],
  ["PUT /machine-config", undefined, "no body"],
  ["PUT /boot-source", { ...boot, kernel_image_path: "absent" }, "a kernel that is absent"],
  ["PUT /boot-source", { ...boot, initrd_path: "absent" }, "an initrd that is absent"],
  ["PUT /drives/scratch", { ...drive, path_on_host: "absent" }, "a disk that is absent"],
  ["PUT /drives/other", drive, "a drive by another name than its own"],
  ["PUT /drives/a-b", { ...drive, drive_id: "a-b" }, "a hyphen in a drive's name"],
  ["PUT /network-interfaces/eth0", { iface_id: "eth1", host_dev_name: "tap0" }, "an interface by another name"],
  ["PUT /network-interfaces/e-0", { iface_id: "e-0", host_dev_name: "tap0" }, "a hyphen in an interface's name"],
  ["PUT /mmds/config", { version: "V2", network_interfaces: ["eth0"] }, "metadata on an interface that is absent"],
  ["PUT /mmds/config", { version: "V2", network_interfaces: [] }, "metadata on no interface"],
  ["PUT /mmds/config", { version: "V3", network_interfaces: ["eth0"] }, "a third version of metadata"],
  ["PUT /vsock", { guest_cid: 3, uds_path: "absent/v.sock" }, "a socket in a directory that is absent"],
  ["PUT /balloon", { amount_mib: 100_000, deflate_on_oom: true }, "a balloon larger than the guest"],
  ["PUT /actions", { action_type: "Explode" }, "an action that is unknown"],
  ["PUT /actions", { action_type: "InstanceStart" }, "a start without a kernel"],
  ["PUT /actions", { action_type: "SendCtrlAltDel" }, "a key press before the start"],
  ["PATCH /vm", { state: "Paused" }, "a pause before the start"],
  ["PATCH /drives/scratch", { drive_id: "scratch", path_on_host: "disk" }, "another disk before the start"],
  ["PATCH /balloon", { amount_mib: 1 }, "another balloon before the start"],
  ["PUT /snapshot/create", { snapshot_path: "snap", mem_file_path: "mem" }, "a snapshot before the start"],
  ["PUT /snapshot/create", { snapshot_path: "snap" }, "a snapshot without a memory file"],
  ["PUT /nothing", {}, "a path that is unknown"],
  ["DELETE /machine-config", undefined, "a method that is unknown"],
  ["GET /version", {}, "a body where none belongs"],
];

/** And what is accepted, in this order. */
const ACCEPTED: [call: string, body: unknown][] = [
  ["PUT /machine-config", machine],
  ["PATCH /machine-config", { mem_size_mib: 256 }],
  ["PUT /boot-source", boot],
  ["PUT /boot-source", { ...boot, initrd_path: "disk" }],
  ["PUT /drives/scratch", drive],
  ["PUT /drives/scratch", { ...drive, is_read_only: false, cache_type: "Unsafe" }],
  ["PUT /vsock", { guest_cid: 3, uds_path: "v.sock" }],
  ["PUT /entropy", {}],
  ["PUT /balloon", { amount_mib: 0, deflate_on_oom: true, free_page_reporting: true }],
  ["PUT /mmds", { latest: { "meta-data": { a: 1 } } }],
];

describe.each(monitors)("Firecracker (%s), before a guest is started,", (_, real) => {
  it("refuses what is wrong, each with a reason, and goes on", async () => {
    const send = await monitor(real);
    const answers = [];
    for (const [call, body, why] of REFUSED) {
      const answer = await send(call, body);
      const reason = (JSON.parse(answer.body || "{}") as { fault_message?: string }).fault_message ?? "";
      answers.push(`${call}, ${why}: ${answer.status}${reason === "" ? " without a reason" : ""}`);
    }
    expect(answers).toEqual(REFUSED.map(([call, , why]) => `${call}, ${why}: 400`));
    expect(JSON.parse((await send("GET /")).body)).toMatchObject({ id: "a-1", state: "Not started" });
  });

  it("takes what is right, and then no snapshot instead", async () => {
    const send = await monitor(real);
    const answers = [];
    for (const [call, body] of ACCEPTED) {
      const { status, body: text } = await send(call, body);
      answers.push(`${call}: ${status} ${text}`);
    }
    expect(answers).toEqual(ACCEPTED.map(([call]) => `${call}: 204 `));
    expect(await send("PUT /snapshot/load", snapshot)).toMatchObject({
      status: 400,
      body: expect.stringMatching(/not (allowed|supported)/i),
    });
    expect(JSON.parse((await send("GET /version")).body)).toEqual({
      firecracker_version: expect.stringMatching(/^1\./),
    });
  });
});
