import { accessSync, closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { type Description, problemsOf } from "../description.ts";

export interface Body {
  [key: string]: unknown;
}

/** What the requests have described so far. */
export interface Described {
  machine: Body;
  boot?: Body;
  drives: Map<string, Body>;
  interfaces: Map<string, Body>;
  mmds?: Body;
  vsock?: Body;
  balloon?: Body;
  entropy?: Body;
}

export type Phase = "Not started" | "Running" | "Paused";

/** A request that Firecracker would refuse. */
export class Fault extends Error {}

/** Only before the guest is started. */
const BEFORE = [
  /^PUT \/(machine-config|cpu-config|boot-source|mmds\/config|vsock|balloon|entropy|serial|logger|metrics|snapshot\/load)$/,
  /^PATCH \/machine-config$/,
  /^PUT \/(drives|network-interfaces|pmem)\//,
  /^PUT \/hotplug\/memory$/,
];
/** Only once it is. */
const AFTER = [
  /^PATCH \/(drives|network-interfaces|pmem)\//,
  /^PATCH \/(balloon|balloon\/.*|vm|hotplug\/memory)$/,
  /^PUT \/snapshot\/create$/,
];

/** Keys that came with later versions than the oldest one that is supported. */
const NEWER: [path: RegExp, key: string, since: [number, number]][] = [
  [/^\/mmds\/config$/, "imds_compat", [1, 13]],
  [/^\/balloon$/, "free_page_reporting", [1, 14]],
  [/^\/balloon$/, "free_page_hinting", [1, 14]],
  [/^\/network-interfaces\//, "mtu", [1, 16]],
  [/^\/serial$/, "serial_out_path", [1, 14]],
];

/** @throws Fault for what is no request of the API of this version, or comes at the wrong time */
export function checkRequest(
  { description, version, phase }: { description: Description; version: string; phase: Phase },
  method: string,
  path: string,
  body: unknown,
): void {
  if (method === "GET" && body !== undefined) throw new Fault("GET request cannot have a body.");
  const problems = problemsOf(description, method, path, body).filter(
    // Against its description Firecracker takes parts of a machine here.
    (problem) => !(method === "PATCH" && path === "/machine-config" && problem.includes("missing field")),
  );
  if (problems.length > 0)
    throw new Fault(`An error occurred when deserializing the json body: ${problems.join("; ")}`);
  for (const [pattern, key, [major, minor]] of NEWER) {
    const [own = 0, ownMinor = 0] = version.split(".").map(Number);
    if (!pattern.test(path) || typeof body !== "object" || body === null || !(key in body)) continue;
    if (own < major || (own === major && ownMinor < minor)) {
      throw new Fault(`An error occurred when deserializing the json body: unknown field \`${key}\``);
    }
  }
  const name = `${method} ${path}`;
  if (phase !== "Not started" && BEFORE.some((pattern) => pattern.test(name))) {
    throw new Fault("The requested operation is not supported after starting the microVM.");
  }
  if (phase === "Not started" && AFTER.some((pattern) => pattern.test(name))) {
    throw new Fault("The requested operation is not supported before starting the microVM.");
  }
}

/** Takes in a request that describes the guest. Files and the tap are looked at at once, as Firecracker opens them. */
export function describeGuest(described: Described, method: string, path: string, body: Body): void {
  const [, kind = "", id] = path.split("/");
  if (path === "/snapshot/load") {
    const isDescribed = described.boot !== undefined || described.vsock !== undefined || described.drives.size > 0;
    throw new Fault(
      isDescribed
        ? "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
        : "Load snapshot error: the stand-in restores none.",
    );
  } else if (path === "/mmds/config") {
    const interfaces = body["network_interfaces"] as string[];
    if (interfaces.length === 0 || !interfaces.every((name) => described.interfaces.has(name))) {
      throw new Fault(
        "The list of network interface IDs provided contains at least one ID that does not correspond to any existing network interface.",
      );
    }
    described.mmds = body;
  } else if (kind === "machine-config") {
    described.machine = method === "PATCH" ? { ...described.machine, ...body } : body;
    checkMachine(described.machine);
  } else if (kind === "boot-source") {
    open("The kernel file cannot be opened", body["kernel_image_path"], constants.R_OK);
    if (body["initrd_path"] !== undefined) {
      open(
        "The initrd file cannot be opened due to invalid path or invalid permissions",
        body["initrd_path"],
        constants.R_OK,
      );
    }
    described.boot = body;
  } else if (kind === "drives") {
    checkDrive(described, id, body);
    described.drives.set(id ?? "", body);
  } else if (kind === "network-interfaces") {
    if (body["iface_id"] !== id) throw new Fault("The id from the path does not match the id from the body!");
    if (!tapsHere().has(String(body["host_dev_name"]))) {
      throw new Fault("Could not create the network device: Open tap device failed: No such device");
    }
    described.interfaces.set(id ?? "", body);
  } else if (kind === "balloon" && Number(body["amount_mib"]) > Number(described.machine["mem_size_mib"])) {
    throw new Fault("Invalid balloon size: the guest has less memory.");
  } else if (kind === "vsock" || kind === "balloon" || kind === "entropy") {
    described[kind] = body;
  }
}

/** @throws Fault where what was described is not enough to start a guest */
export function checkStart({ boot }: Described): void {
  if (boot === undefined) throw new Fault("Cannot start microvm without kernel configuration.");
  const kernel = openSync(String(boot["kernel_image_path"]), "r");
  try {
    const magic = Buffer.alloc(20);
    readSync(kernel, magic);
    // An ELF file for x86-64.
    if (magic.toString("latin1", 0, 4) !== "\u007fELF" || magic.readUInt16LE(18) !== 62) {
      throw new Fault(
        "Cannot load kernel due to invalid memory configuration or invalid kernel image: Kernel Loader: failed to load ELF kernel image: Invalid ELF magic number",
      );
    }
  } finally {
    closeSync(kernel);
  }
}

function checkMachine(machine: Body): void {
  const { mem_size_mib: memory, vcpu_count: vcpus, smt, huge_pages: pages } = machine;
  if (memory === 0) throw new Fault("The memory size (MiB) is invalid.");
  if (pages === "2M" && Number(memory) % 2 !== 0)
    throw new Fault("The memory size (MiB) is not a multiple of the page size.");
  if (smt === true && vcpus !== 1 && Number(vcpus) % 2 !== 0) {
    throw new Fault("The vCPU number is invalid! The vCPU number can only be 1 or an even number when SMT is enabled.");
  }
}

function checkDrive({ drives }: Described, id: string | undefined, body: Body): void {
  if (body["drive_id"] !== id) throw new Fault("The id from the path does not match the id from the body!");
  const others = [...drives].filter(([name, drive]) => name !== id && drive["is_root_device"] === true);
  if (body["is_root_device"] === true && others.length > 0) throw new Fault("A root block device already exists!");
  const mode = body["is_read_only"] === true ? constants.R_OK : constants.R_OK | constants.W_OK;
  open(
    "Unable to create the block device: Virtio backend error: Error manipulating the backing file",
    body["path_on_host"],
    mode,
  );
}

function open(what: string, path: unknown, mode: number): void {
  try {
    accessSync(String(path), mode);
  } catch (error) {
    throw new Fault(`${what}: ${(error as Error).message}`);
  }
}

/** The interfaces of the network namespace that this process is in. */
function tapsHere(): Set<string> {
  const lines = readFileSync("/proc/self/net/dev", "utf8").split("\n");
  return new Set(lines.flatMap((line) => /^\s*([^:\s]+):/.exec(line)?.[1] ?? []));
}
