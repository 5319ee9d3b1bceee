import * as z from "zod";
import { duration, forgeName, hostName, httpUrl, listenAddress, path, proxyUrl, text } from "./fields.ts";
import { imagesSchema } from "./schema-images.ts";
import { limitsSchema } from "./schema-limits.ts";
import { networkSchema } from "./schema-network.ts";
import { poolSchema } from "./schema-pool.ts";

const MOST_HOSTS = 1_000;

const serverSchema = z.strictObject({
  address: listenAddress()
    .default("127.0.0.1:8080")
    .describe("Where the API listens, host:port. Without a host: loopback only."),
  metricsAddress: listenAddress()
    .default("127.0.0.1:8081")
    .describe("Where the metrics are served, host:port. Without a host: loopback only."),
  socket: path()
    .refine((value) => Buffer.byteLength(value) <= 107, "must have at most 107 bytes, as every unix socket's path")
    .optional()
    .describe("Unix socket of the API, which may change things. Default: api.sock in the run directory."),
  tokenFile: path()
    .optional()
    .describe("File with the token that callers over TCP must send for anything beyond the original's read routes."),
});

const forgeSchema = z.strictObject({
  instanceURL: httpUrl().describe("Address of the forge, with its path if it has one."),
  apiToken: text()
    .regex(/^\s*[^\s\u0000-\u001f\u007f]+\s*$/, "must be one word")
    .optional()
    .describe("API token of the forge. Prefer apiTokenFile."),
  apiTokenFile: path().optional().describe("File with the API token; read again when it changes."),
  runnerScope: z
    .enum(["instance", "org", "user", "repo"])
    .optional()
    .describe("Where runners are registered. Default: org when there is a runnerOwner, else instance."),
  runnerOwner: forgeName().optional().describe("Organisation or owner of the repository, for scope org and repo."),
  runnerRepo: forgeName().optional().describe("Repository name without its owner, for scope repo."),
  caFile: path().optional().describe("PEM file with certificates to trust besides the system's."),
  proxy: proxyUrl().optional().describe("HTTP proxy for requests to the forge. Default: none."),
  legacyRegistrationToken: z
    .boolean()
    .default(false)
    .describe(
      "Give guests the scope's real registration token, for images of the original. Every job can then register runners.",
    ),
  allowPersistentRegistration: z
    .boolean()
    .default(false)
    .describe(
      "Accept a forge that cannot make ephemeral registrations. A job that stops its runner could then keep it.",
    ),
});

const guestSchema = z.strictObject({
  caFiles: z.array(path()).default([]).describe("PEM files that system, git, node and engine in the guest trust."),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_]\w{0,254}$/, "must be the name of an environment variable"),
      z.string().max(32_768),
    )
    .default({})
    .describe("Environment variables of engine and jobs, such as HTTP_PROXY."),
  engines: z
    .strictObject({
      "gitea-runner": path().optional().describe("The gitea-runner (act_runner) binary, version 1.0 or newer."),
      "forgejo-runner": path().optional().describe("The forgejo-runner binary, version 12.8 or newer."),
    })
    .default({})
    .describe("Engine binaries that are put into the guest image; shell is built in."),
});

/** The configuration file. Nothing is converted here: config/settings.ts does that. */
export const fileSchema = z.strictObject({
  server: serverSchema.prefault({}).describe("The HTTP API and the metrics."),
  logLevel: text(64).default("info").describe("debug, info, warn or error."),
  gitea: forgeSchema.optional().describe("The forge, Gitea or Forgejo."),
  forge: forgeSchema.optional().describe("Another name for gitea; only one of them may be there."),
  pools: z
    .array(poolSchema)
    .min(1, "must name at least one pool")
    .describe("The pools of runners, in order of preference."),
  limits: limitsSchema.prefault({}).describe("Time limits of every pool that sets no own."),
  shutdown: z
    .enum(["detach", "drain", "kill"])
    .default("detach")
    .describe(
      "What happens to running jobs at SIGTERM: leave them running for the next start, wait for them, or end them.",
    ),
  drainTimeout: duration().default("3h10m").describe("How long a drain waits for running jobs."),
  pollInterval: duration(3_600_000).default("5s").describe("Time between two reads of the forge's queue."),
  history: z
    .strictObject({
      runners: z.int().min(0).max(1_000_000).default(10_000).describe("How many of them are kept at most."),
      days: z.int().min(1).max(3_650).default(90).describe("How long they are kept at most, days."),
    })
    .prefault({})
    .describe("The history of runners that are gone: their jobs, timelines and events."),
  webhook: z
    .strictObject({ secretFile: path().describe("File with the secret that the forge signs webhooks with.") })
    .optional()
    .describe("Accept the forge's workflow_job webhooks at /webhooks/forge."),
  guest: guestSchema.prefault({}).describe("What every microVM gets from this host."),
  images: imagesSchema.prefault({}).describe("Images from registries."),
  network: networkSchema.prefault({}).describe("The embedded network of microVMs."),
  host: z
    .strictObject({
      memoryMib: z
        .int()
        .min(64)
        .max(67_108_864)
        .optional()
        .describe("Memory for all microVMs together, MiB. Default: what the machine has."),
      vcpus: z
        .int()
        .min(1)
        .max(65_536)
        .optional()
        .describe("Virtual processors of all microVMs together. Default: what the machine has."),
      diskMib: z
        .int()
        .min(64)
        .max(1_073_741_824)
        .optional()
        .describe(
          "What the scratch disks of all microVMs together may grow to, MiB. Default: four times what is free, since few jobs fill their disk.",
        ),
      jailDir: path()
        .optional()
        .describe(
          "Where Firecracker's jails are built; on the file system of images and disks, mounted with dev and exec. Default: jails in the state directory.",
        ),
    })
    .prefault({})
    .describe("What the pools together may use of this machine."),
  fleet: z
    .strictObject({
      hosts: z
        .union(
          [z.int().min(1).max(MOST_HOSTS), z.array(hostName()).min(1).max(MOST_HOSTS)],
          "must be the number of hosts, or a list of their host names",
        )
        .default(1)
        .describe(
          "How many hosts serve this forge together, or better the list of their host names (or host ids), the same on each.",
        ),
    })
    .prefault({})
    .describe("Other hosts with pools at the same forge."),
  containerd: z
    .strictObject({
      address: path().default("/run/containerd/containerd.sock").describe("Socket of containerd."),
      snapshotter: text(255).default("devmapper").describe("Snapshotter that makes root disks."),
    })
    .prefault({})
    .describe("The containerd that firecracker pools take images from."),
  cni: z
    .strictObject({
      confDir: path()
        .default("/etc/cni/net.d")
        .describe("Directory of CNI configuration lists; ours is called fireteact."),
      binDir: path().default("/opt/cni/bin").describe("Directory of CNI plugins."),
    })
    .optional()
    .describe("With this block firecracker pools use a CNI network, else the embedded one."),
});

export type ConfigInput = z.input<typeof fileSchema>;
export type Config = z.output<typeof fileSchema>;
export type ForgeConfig = z.output<typeof forgeSchema>;

/** JSON Schema of the file, for editors. */
export function configSchema(): Record<string, unknown> {
  return { title: "Fireteact configuration", ...z.toJSONSchema(fileSchema, { io: "input" }) };
}
