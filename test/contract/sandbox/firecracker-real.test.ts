import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { kill, processes } from "../../../src/base/process.ts";
import { createApi } from "../../../src/sandbox/firecracker/api.ts";
import { checkPrograms } from "../../../src/sandbox/firecracker/jail-programs.ts";
import { requests } from "../../../src/sandbox/firecracker/requests.ts";
import { readConsole } from "../../../src/sandbox/microvm/console.ts";
import { hexOf, jails, NOTHING, UID } from "../../support/firecracker/jails.ts";
import { realBinary } from "../../support/firecracker/real.ts";
import { exitOfSandbox, temporaryPlaces, until } from "../../support/sandboxes.ts";

const binary = realBinary("FIRECRACKER_BIN") ?? "";
const jailer = realBinary("JAILER_BIN") ?? "";
const drive = { is_root_device: false, cache_type: "Unsafe" as const };

describe.skipIf(binary === "" || jailer === "")("the real Firecracker in a real jail", () => {
  it("is set up as a guest needs it, is confined, and leaves nothing", async () => {
    const signal = AbortSignal.timeout(60_000);
    const version = await checkPrograms({ binary, jailer }, signal);
    const { launch, cgroups, prepare, remove, remains, namespace } = await jails(await temporaryPlaces(), {
      binary,
      jailer,
    });
    const hex = hexOf(1);
    const { own, prepared, root } = await prepare(hex);
    await prepared.start(["--level", "Warn"]);
    const api = createApi(launch.sockets(hex).api);
    await until(() => api.version(signal).then(Boolean, () => false));
    expect(await api.version(signal)).toBe(version);
    expect(await api.instance(signal)).toMatchObject({ id: hex, state: "Not started" });

    const [monitor, ...others] = Array.from(processes()).filter(({ uid }) => uid === UID);
    expect(others).toEqual([]);
    const pid = monitor?.pid ?? 0;
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    for (const line of [
      "CapEff:\t0000000000000000",
      `Gid:\t${UID}\t${UID}\t${UID}\t${UID}`,
      "Groups:\t ",
      `NSpid:\t${pid}\t1`,
    ]) {
      expect(status.split("\n")).toContain(line);
    }
    expect(statSync(`/proc/${pid}/root/`).ino).toBe(statSync(root).ino);
    expect(statSync(`/proc/${pid}/ns/net`).ino).toBe(statSync(`/run/netns/${namespace}`).ino);
    const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
    expect(limits).toMatch(/^Max open files +512 +512 /m);
    expect(limits).toMatch(/^Max file size +1048576 +1048576 /m);
    expect(limits).toMatch(/^Max core file size +0 +0 /m);
    if (cgroups.problem() === undefined) expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toContain(`/${hex}\n`);

    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    // The thread that serves requests is filtered from the beginning, those that run a guest from its start.
    const threads = readdirSync(`/proc/${pid}/task`).map((id) =>
      readFileSync(`/proc/${pid}/task/${id}/status`, "utf8"),
    );
    expect(threads.filter((thread) => /^Name:\tfc_api$/m.test(thread) && /^Seccomp:\t2$/m.test(thread))).toHaveLength(
      1,
    );
    const files = { root: prepared.seen("kernel"), scratch: prepared.seen("scratch") };
    for (const request of [
      requests.machine({ vcpu_count: 1, mem_size_mib: 128 }),
      requests.boot({
        kernel_image_path: prepared.seen("kernel"),
        initrd_path: prepared.seen("initrd"),
        boot_args: "quiet",
      }),
      requests.drive({ drive_id: "root", ...drive, is_read_only: true, path_on_host: files.root }),
      requests.drive({ drive_id: "scratch", ...drive, is_read_only: false, path_on_host: files.scratch }),
      requests.vsock({ guest_cid: 3, uds_path: prepared.vsock }),
      requests.entropy({}),
    ]) {
      await api.send(request, signal);
    }
    // The host's files are not there.
    const outside = requests.drive({ drive_id: "more", ...drive, is_read_only: true, path_on_host: binary });
    await expect(api.send(outside, signal)).rejects.toMatchObject({ code: "FIRECRACKER_REFUSED" });
    expect(statSync(launch.sockets(hex).vsock).isSocket()).toBe(true);
    await prepared.seal();
    // "the kernel" is none, which shows that the sealed jail's files are still read.
    await expect(api.send(requests.action("InstanceStart"), signal)).rejects.toMatchObject({
      code: "FIRECRACKER_REFUSED",
    });

    kill(pid, "SIGKILL");
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: null, signal: "SIGKILL" });
    await remove(hex);
    await remove(hex);
    expect(remains()).toEqual(NOTHING);
  });

  it("ends with its own status, which is known: that of wrong arguments", async () => {
    const { prepare } = await jails(await temporaryPlaces(), { binary, jailer });
    const { own, prepared } = await prepare(hexOf(2));
    await prepared.start(["--no-such-argument"]);
    expect(await exitOfSandbox(own.directory)).toMatchObject({ code: 153, signal: null });
    expect(await readConsole(own.directory, 4_096)).toMatch(/no-such-argument/);
  });
});
