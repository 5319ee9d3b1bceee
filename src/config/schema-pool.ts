import * as z from "zod";
import { count, forgeName, label, name, path, text } from "./fields.ts";
import { limitsSchema } from "./schema-limits.ts";
import { nativeSchema } from "./schema-native.ts";
import { poolNetworkSchema } from "./schema-network.ts";

const MOST_MEMORY = 16_777_216;
const MOST_RUNNERS = 10_000;

const runnerSchema = z.strictObject({
  name: name().optional().describe("Start of the runners' names in the forge. Default: the pool's name."),
  labels: z.array(label()).max(100).default([]).describe("Labels that jobs ask for in runs-on; exact case."),
  image: text(1_024)
    .regex(/^[^\s\u0000-\u001f\u007f-][^\s\u0000-\u001f\u007f]*$/, "must be an image reference without spaces")
    .optional()
    .describe(
      "Image of the guest: local:NAME for one of this host, or one from a registry, such as ghcr.io/owner/image:tag.",
    ),
  agent: z
    .enum(["fireteact", "original"])
    .default("fireteact")
    .describe(
      "The agent in the image: ours, or the original program's, which finds its registration in /opt/act_runner/.runner and reports nothing (docs/agent.md).",
    ),
  imagePullPolicy: z
    .enum(["Always", "IfNotPresent", "Never"])
    .default("IfNotPresent")
    .describe(
      "When the registry is asked for the image: at each start and every five minutes, when it is not here, or never. Local images are brought up to date at each start.",
    ),
});

const firecrackerSchema = z.strictObject({
  binaryPath: path().optional().describe("The firecracker binary. Default: searched in the usual places and PATH."),
  jailer: z
    .boolean()
    .default(true)
    .describe("Whether Firecracker is started through its jailer; docs/security.md says what is lost without."),
  jailerPath: path()
    .optional()
    .describe("The jailer of the same release. Default: beside the firecracker binary, else searched like it."),
  memSizeMib: count(0, MOST_MEMORY).default(2_048).describe("Memory of a guest, MiB."),
  vcpuCount: count(0, 32).default(2).describe("Virtual processors of a guest."),
  kernelPath: path()
    .optional()
    .describe("The guest's kernel, uncompressed (vmlinux). Default: that of the first pool, else the image's."),
  initrdPath: path().optional().describe("The guest's initrd, together with kernelPath. Default: the image's."),
  kernelArgs: text()
    .default("console=ttyS0 reboot=k panic=1 pci=off")
    .describe("Kernel command line; what the guest needs of us is added."),
  diskSizeMib: count(256, MOST_MEMORY)
    .default(10_240)
    .describe("Writable disk of a guest, MiB; only what is written takes room."),
  overheadMib: count(16, MOST_MEMORY)
    .default(256)
    .describe("Memory that a monitor may take besides its guest's, MiB; with more it is ended."),
  hugePages: z
    .boolean()
    .default(false)
    .describe("Memory of guests in pages of 2 MiB, of which the host has set enough aside (vm.nr_hugepages)."),
  balloon: z
    .boolean()
    .default(false)
    .describe("Memory that a guest does not use any more goes back to the host. Firecracker 1.14 or newer."),
  mmds: z
    .enum(["off", "V1", "V2"])
    .default("off")
    .describe(
      "Who answers guests at 169.254.169.254: the host (off), or Firecracker's own service, which insists on tokens (V2) or not (V1). The document is the same.",
    ),
  imdsCompat: z
    .boolean()
    .default(false)
    .describe(
      "Firecracker's service answers with text only, as EC2 does; our agent needs JSON. Firecracker 1.13 or newer.",
    ),
  metadata: z
    .record(z.string(), z.unknown())
    .default({})
    .describe(
      "Copied into the guest's metadata as it is; the key user-data is cloud-init's. No variables are replaced in it.",
    ),
});

const qemuSchema = z.strictObject({
  memSizeMib: count(64, MOST_MEMORY).default(2_048).describe("Memory of a guest, MiB."),
  vcpuCount: count(1, 255).default(2).describe("Virtual processors of a guest."),
  kernelPath: path().optional().describe("The guest's kernel. Default: the image's."),
  initrdPath: path().optional().describe("The guest's initrd, together with kernelPath. Default: the image's."),
  binaryPath: path().optional().describe("The QEMU binary. Default: searched in PATH."),
  accelerator: z
    .enum(["auto", "kvm", "tcg"])
    .default("auto")
    .describe("kvm needs hardware virtualisation, tcg emulates; auto takes kvm where a guest really boots with it."),
  diskSizeMib: count(256, MOST_MEMORY)
    .default(10_240)
    .describe("Writable disk of a guest, MiB; only what is written takes room."),
});

const poolForgeSchema = z.strictObject({
  scope: z
    .enum(["instance", "org", "user", "repo"])
    .optional()
    .describe(
      "Where this pool's runners are registered. Default: org when there is an owner here, else the global scope.",
    ),
  owner: forgeName().optional().describe("Organisation or owner of the repository. Default: the global runnerOwner."),
  repo: forgeName().optional().describe("Repository name without its owner, for scope repo."),
  apiTokenFile: path().optional().describe("File with the API token for this scope. Default: the global token."),
});

export const poolSchema = z.strictObject({
  name: name().describe("The pool's name, unique in this file."),
  maxRunners: count(0, MOST_RUNNERS).default(10).describe("At most so many runners at once; 0 means the default."),
  minRunners: count(0, MOST_RUNNERS)
    .default(1)
    .describe("At least so many runners, busy ones included; 0 scales to zero."),
  minIdle: count(0, MOST_RUNNERS).default(0).describe("So many runners are kept ready besides the busy ones."),
  driver: z
    .enum(["firecracker", "qemu", "native", "fake"])
    .default("firecracker")
    .describe("What makes the places jobs run in; fake is for tests and isolates nothing."),
  engine: z
    .enum(["gitea-runner", "forgejo-runner", "shell"])
    .optional()
    .describe(
      "What runs the job's steps. Default: the forge's own runner where guest.engines has it, else shell, which is built in and small.",
    ),
  runner: runnerSchema.prefault({}).describe("The runners of this pool."),
  firecracker: firecrackerSchema.optional().describe("Settings of driver firecracker."),
  qemu: qemuSchema.optional().describe("Settings of driver qemu."),
  native: nativeSchema.optional().describe("Settings of driver native."),
  network: poolNetworkSchema.prefault({}).describe("What the guests of this pool reach, over the global network."),
  limits: limitsSchema.prefault({}).describe("Time limits of this pool, over the global ones."),
  forge: poolForgeSchema.prefault({}).describe("Scope and token of this pool, over the global ones."),
});

export type PoolConfig = z.output<typeof poolSchema>;

/** What a block means that is not there. */
export const firecrackerDefaults = () => firecrackerSchema.parse({});
export const qemuDefaults = () => qemuSchema.parse({});
