import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Machine, machineRequests } from "../../../src/sandbox/firecracker/machine.ts";
import { requests } from "../../../src/sandbox/firecracker/requests.ts";
import { problemsOf } from "../../support/firecracker/description.ts";
import { readDescription } from "../../support/firecracker/read-description.ts";

const description = readDescription();
const problems = (method: string, path: string, body: unknown) => problemsOf(description, method, path, body);

const machine: Machine = {
  memoryMib: 2_048,
  vcpus: 2,
  kernel: "/kernel",
  initrd: "/initrd",
  kernelLine: "console=ttyS0",
  root: "/root.img",
  scratch: "/scratch.img",
  network: { tap: "tap0", guestMac: "06:00:ac:1f:00:02" },
  vsock: "vm/vsock.sock",
  hugePages: false,
  balloon: false,
  mmds: "off",
  imdsCompat: false,
  rates: {},
};

const machines: fc.Arbitrary<Machine> = fc.record({
  memoryMib: fc.integer({ min: 64, max: 524_288 }).map((half) => half * 2),
  vcpus: fc.integer({ min: 1, max: 32 }),
  kernel: fc.string({ minLength: 1 }),
  initrd: fc.string({ minLength: 1 }),
  kernelLine: fc.string(),
  root: fc.string({ minLength: 1 }),
  scratch: fc.string({ minLength: 1 }),
  network: fc.constant(machine.network),
  vsock: fc.string({ minLength: 1 }),
  hugePages: fc.boolean(),
  balloon: fc.boolean(),
  rates: fc.record(
    {
      downloadMbit: fc.integer({ min: 1, max: 1_000_000 }),
      uploadMbit: fc.integer({ min: 1, max: 1_000_000 }),
      packetsPerSecond: fc.integer({ min: 1, max: 100_000_000 }),
    },
    { requiredKeys: [] },
  ),
  mmds: fc.constantFrom("off", "V1", "V2"),
  imdsCompat: fc.boolean(),
});

describe("every request that the client sends", () => {
  it("is one of the API's, whatever the machine is like", () => {
    fc.assert(
      fc.property(machines, (one) => {
        for (const { request } of machineRequests(one, [1, 16])) {
          expect(problems(request.method, request.path, request.body)).toEqual([]);
        }
      }),
    );
  });

  it("is one of the API's after the start, too", () => {
    for (const action of ["InstanceStart", "FlushMetrics", "SendCtrlAltDel"] as const) {
      const { method, path, body } = requests.action(action);
      expect(problems(method, path, body)).toEqual([]);
    }
    const { method, path, body } = requests.mmds({ latest: { "meta-data": { "instance-id": "x" } } });
    expect(problems(method, path, body)).toEqual([]);
  });

  it("comes in an order that Firecracker takes: interfaces before the metadata service on them", () => {
    const names = machineRequests({ ...machine, mmds: "V2" }, [1, 16]).map(({ request }) => request.path);
    expect(names).toEqual([
      "/machine-config",
      "/boot-source",
      "/drives/root",
      "/drives/scratch",
      "/network-interfaces/eth0",
      "/mmds/config",
      "/vsock",
      "/entropy",
    ]);
  });

  it("asks for nothing that the version does not know", () => {
    expect(() => machineRequests({ ...machine, balloon: true }, [1, 13])).toThrow("firecracker.balloon");
    expect(() => machineRequests({ ...machine, mmds: "V2", imdsCompat: true }, [1, 12])).toThrow("imdsCompat");
    const old = machineRequests({ ...machine, mmds: "V1" }, [1, 7]).flatMap(({ request }) => Object.keys(request.body));
    for (const newer of ["imds_compat", "free_page_reporting", "mtu"]) expect(old).not.toContain(newer);
  });
});

describe("the description as tests read it", () => {
  it("refuses what Firecracker refuses", () => {
    expect(problems("PUT", "/machine-config", { vcpu_count: 0, mem_size_mib: 128 })).toEqual([
      "body.vcpu_count: less than 1",
    ]);
    expect(problems("PUT", "/machine-config", { vcpu_count: 1 })).toEqual(["body: missing field mem_size_mib"]);
    expect(problems("PUT", "/vsock", { guest_cid: 3, uds_path: "v", port: 1 })).toEqual(["body: unknown field port"]);
    expect(problems("PUT", "/drives/my-drive", {})).toEqual([
      "Invalid request method and/or path: PUT /drives/my-drive",
    ]);
    expect(problems("PUT", "/actions", { action_type: "Reboot" })).toEqual([
      "body.action_type: unknown variant Reboot",
    ]);
    expect(problems("PUT", "/actions", undefined)).toEqual(["Empty request body"]);
    expect(problems("GET", "/version", undefined)).toEqual([]);
  });
});
