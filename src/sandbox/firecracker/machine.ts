import { FireteactError } from "../../base/errors.ts";
import type { Rates } from "../../core/settings.ts";
import type { GuestNetwork } from "../../network/port.ts";
import { type ApiRequest, requests } from "./requests.ts";
import type { RateLimiter } from "./types.ts";
import { requireFeature, type Version } from "./version.ts";

/** What a pool may ask of its guests' machines besides their size. */
export interface MachineOptions {
  /** Memory in pages of 2 MiB, which the host has to have set aside. */
  hugePages: boolean;
  /** Memory that the guest does not use any more goes back to the host. */
  balloon: boolean;
  /** Limits of the guest's network; packets are those that it sends. */
  rates: Pick<Rates, "downloadMbit" | "uploadMbit" | "packetsPerSecond">;
  /** Which version of Firecracker's own metadata service answers guests; `off` leaves that to the host's server. */
  mmds: "off" | "V1" | "V2";
  /** It answers with text, whatever is asked for, as EC2 does. */
  imdsCompat: boolean;
}

/** Everything that differs from one guest to the next. Paths are as the monitor sees them. */
export interface Machine extends MachineOptions {
  memoryMib: number;
  vcpus: number;
  kernel: string;
  initrd: string;
  kernelLine: string;
  /** Read-only root file system, shared by all guests. */
  root: string;
  scratch: string;
  network: Pick<GuestNetwork, "tap" | "guestMac">;
  vsock: string;
}

/** The guest's network interface, as the API names it. */
const INTERFACE = "eth0";
/** Every guest has the same; each is alone behind its own socket. */
const GUEST_CID = 3;

/** A named request; the name tells in logs and errors what was being set up. */
export interface NamedRequest {
  name: string;
  request: ApiRequest;
}

/**
 * The requests that describe a guest, in the order in which they are sent; only its start is left then. The metadata
 * service comes after the interface it answers on. No drive is a root device to Firecracker, since the initrd mounts
 * them: they become vda and vdb in this order.
 *
 * @throws FireteactError `BAD_MACHINE`, `FIRECRACKER_VERSION` where an option is newer than the version
 */
export function machineRequests(machine: Machine, version: Version): NamedRequest[] {
  const { memoryMib, vcpus, hugePages, balloon, mmds, imdsCompat } = machine;
  if (vcpus < 1 || vcpus > 32) throw bad(`Firecracker guests have 1 to 32 processors, not ${vcpus}`);
  if (hugePages && memoryMib % 2 !== 0) throw bad(`With huge pages ${memoryMib} MiB of memory have to be even`);
  if (balloon) requireFeature(version, "freePageReporting", "firecracker.balloon");
  if (imdsCompat) requireFeature(version, "imdsCompat", "firecracker.imdsCompat");
  const sizes = { vcpu_count: vcpus, mem_size_mib: memoryMib };
  const reporting = { amount_mib: 0, deflate_on_oom: true, free_page_reporting: true as const };
  const drive = { is_root_device: false, cache_type: "Unsafe" as const };
  const service = {
    version: mmds === "V1" ? ("V1" as const) : ("V2" as const),
    network_interfaces: [INTERFACE],
    ...(imdsCompat && { imds_compat: true as const }),
  };
  return [
    { name: "machine", request: requests.machine({ ...sizes, ...(hugePages && { huge_pages: "2M" }) }) },
    {
      name: "boot source",
      request: requests.boot({
        kernel_image_path: machine.kernel,
        initrd_path: machine.initrd,
        boot_args: machine.kernelLine,
      }),
    },
    {
      name: "root drive",
      request: requests.drive({ drive_id: "root", ...drive, is_read_only: true, path_on_host: machine.root }),
    },
    {
      name: "scratch drive",
      request: requests.drive({ drive_id: "scratch", ...drive, is_read_only: false, path_on_host: machine.scratch }),
    },
    { name: "network interface", request: requests.network(interfaceOf(machine)) },
    ...(mmds === "off" ? [] : [{ name: "metadata service", request: requests.mmdsConfig(service) }]),
    { name: "vsock", request: requests.vsock({ guest_cid: GUEST_CID, uds_path: machine.vsock }) },
    { name: "entropy", request: requests.entropy({}) },
    ...(balloon ? [{ name: "balloon", request: requests.balloon(reporting) }] : []),
  ];
}

function interfaceOf({ network, rates }: Machine) {
  const { tap, guestMac } = network;
  const receive = limiter(rates.downloadMbit, undefined);
  const send = limiter(rates.uploadMbit, rates.packetsPerSecond);
  if (!/^[\w.-]{1,15}$/.test(tap)) throw bad(`This is no name of a network interface: ${JSON.stringify(tap)}`);
  return {
    iface_id: INTERFACE,
    host_dev_name: tap,
    guest_mac: guestMac,
    ...(receive === undefined ? {} : { rx_rate_limiter: receive }),
    ...(send === undefined ? {} : { tx_rate_limiter: send }),
  };
}

function limiter(mbit: number | undefined, packets: number | undefined): RateLimiter | undefined {
  if (mbit === undefined && packets === undefined) return undefined;
  return {
    ...(mbit === undefined ? {} : { bandwidth: bucket((mbit * 1_000_000) / 8) }),
    ...(packets === undefined ? {} : { ops: bucket(packets) }),
  };
}

/** A tenth of a second's worth at once, so that a guest does not come to a halt for the rest of a second. */
const bucket = (perSecond: number) => ({ size: Math.max(1, Math.round(perSecond / 10)), refill_time: 100 });

const bad = (message: string): FireteactError =>
  new FireteactError("BAD_MACHINE", message, { hint: "Correct the pool's block firecracker" });
