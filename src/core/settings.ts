import type { DriverName, EngineName, ForgeScope, Pool } from "./types.ts";

/** What the configuration file asks for, as plain data: made by config/load.ts, read by everything else. */
export interface Settings {
  logLevel: "debug" | "info" | "warn" | "error";
  server: ServerSettings;
  /** Every forge scope that a pool uses, once each. */
  targets: TargetSettings[];
  pools: PoolSettings[];
  /** What SIGTERM does: leave running jobs to the next process, wait for them, or end them. */
  shutdown: "detach" | "drain" | "kill";
  /** How long a drain waits for running jobs, milliseconds. */
  drainTimeout: number;
  /** Time between two reads of a forge's queue, milliseconds. */
  pollInterval: number;
  /** How many runners that are gone are remembered, and how long. */
  history: { runners: number; days: number };
  webhook?: { secretFile: string };
  guest: GuestSettings;
  images: ImageSettings;
  network: NetworkSettings;
  /** The hosts that serve the same forges: their number, or all their names. */
  fleet: { hosts: number | string[] };
  /** What all sandboxes together may use; what is absent is taken from the machine. */
  host: HostSettings;
  containerd: { address: string; snapshotter: string };
  /** The CNI network of firecracker pools; absent where they use the embedded one. */
  cni?: { confDir: string; binDir: string };
}

export interface HostSettings {
  memoryMib?: number;
  vcpus?: number;
  diskMib?: number;
  /** Where Firecracker's jails are built; absent means in the state directory. */
  jailDir?: string;
}

export interface ListenAddress {
  host: string;
  port: number;
}

export interface ServerSettings {
  address: ListenAddress;
  metricsAddress: ListenAddress;
  /** Unix socket of the API; absent means the usual one in the run directory. */
  socket?: string;
  /** Holds the token that allows changes over TCP; without it TCP only reads. */
  tokenFile?: string;
}

/** Where a secret comes from. Never log one: `inline` holds the secret itself. */
export type SecretSource = { kind: "inline"; value: string } | { kind: "file"; path: string };

/** One forge, one scope, one API token. */
export interface TargetSettings {
  /** See `targetKey`. */
  key: string;
  /** Base address without a slash at its end; may have a path. */
  url: string;
  scope: ForgeScope;
  token: SecretSource;
  /** PEM file with certificates trusted besides the system's. */
  caFile?: string;
  /** HTTP proxy; may hold a password. */
  proxy?: string;
  /** Hands the scope's real registration token to guests, for images of the original that register themselves. */
  legacyRegistrationToken: boolean;
  /** Accepts forges that cannot make ephemeral registrations. */
  allowPersistentRegistration: boolean;
}

export interface PoolSettings extends Omit<Pool, "engine"> {
  /** Absent: see `poolOf`. */
  engine?: EngineName;
  /** The labels as engines and forges write them, `name:host` or what the file says after the colon. */
  runnerLabels: string[];
  /** Image reference; absent only for drivers that boot nothing. */
  image?: string;
  imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  /** What the pool's guests reach; of drivers that boot guests. */
  egress: EgressPolicy;
  /** Present exactly when the driver is `qemu`. */
  qemu?: QemuSettings;
  /** Present exactly when the driver is `firecracker`. */
  firecracker?: FirecrackerSettings;
  /** Present exactly when the driver is `native`. */
  native?: NativeSettings;
}

export interface QemuSettings {
  /** Absent means the image's own kernel and initrd. */
  kernelPath?: string;
  initrdPath?: string;
  /** Absent means searched in PATH. */
  binaryPath?: string;
  accelerator: "auto" | "kvm" | "tcg";
  /** Size of the writable scratch disk. */
  diskSizeMib: number;
}

export interface FirecrackerSettings {
  /** Absent means searched in the usual places. */
  binaryPath?: string;
  /** Started through Firecracker's jailer. */
  jailer: boolean;
  /** Absent means beside the firecracker binary, else in the usual places. */
  jailerPath?: string;
  /** Absent means the image's own kernel and initrd. */
  kernelPath?: string;
  initrdPath?: string;
  kernelArgs: string;
  /** Size of the writable scratch disk. */
  diskSizeMib: number;
  /** What a monitor may take besides its guest's memory. */
  overheadMib: number;
  hugePages: boolean;
  balloon: boolean;
  /** Firecracker's own metadata service; `off` means the host's. */
  mmds: "off" | "V1" | "V2";
  imdsCompat: boolean;
  /** Copied into the guest's metadata as it is. */
  metadata: Record<string, unknown>;
}

/** What the unit of a job may see and use of the host. Paths are absolute and fit into a unit file as they are. */
export interface NativeSettings {
  /** Their `bin` and `sbin` directories are a job's PATH. */
  hostPackages: string[];
  memoryMib: number;
  swapMib: number;
  /** Processes and threads. */
  tasks: number;
  /** Share of the processors when they are busy; other units have 100. */
  cpuWeight: number;
  /** Of all jobs of the pool together; absent means no limit. */
  poolMemoryMib?: number;
  /** Whether jobs see the Nix store and reach the Nix daemon. */
  nix: boolean;
  groups: string[];
  /** Primary group; absent means one of each job's own. */
  group?: string;
  readOnlyPaths: string[];
  inaccessiblePaths: string[];
  /** Whether jobs may talk to services on loopback addresses. */
  loopback: boolean;
}

export interface GuestSettings {
  /** PEM files that the guest's system, git, node and engine trust. */
  caFiles: string[];
  /** Environment of the engine and its jobs, for proxies. */
  env: Record<string, string>;
  /** Binaries that are put into the guest image. */
  engines: Partial<Record<Exclude<EngineName, "shell">, string>>;
}

/** What guests reach beyond what all of them may, and how fast. The cloud's metadata is never reached. */
export interface EgressPolicy {
  /** Everything but this host and other guests; of that the public internet only; or nothing but what `allow` names. */
  reach: "open" | "internet-only" | "allow-list";
  /** Reached in any case. This host's own ports only by exact address and port. */
  allow: Destination[];
  rates: Rates;
}

export interface Destination {
  /** A host name, an IPv4 address, or an IPv4 network with prefix length. */
  host: string;
  /** First and last TCP and UDP port; absent means every port and protocol. */
  ports?: [number, number];
}

/** Limits of each guest; absent means none. */
export interface Rates {
  /** Megabits a second that it sends. */
  uploadMbit?: number;
  /** Megabits a second that it receives. */
  downloadMbit?: number;
  /** Packets that it sends. */
  packetsPerSecond?: number;
  /** New TCP connections to anything but forge and name servers. */
  connectionsPerSecond?: number;
}

/** What guests reach unless the configuration says otherwise. */
export const DEFAULT_EGRESS: EgressPolicy = { reach: "internet-only", allow: [], rates: {} };

export interface ImageSettings {
  /** Docker's configuration, with credentials; absent means that of the user. */
  authFile?: string;
  /** Most that an image may have, packed as well as unpacked. */
  maxSizeMib: number;
  /** Milliseconds. */
  pullTimeout: number;
  registries: RegistryPlace[];
}

/** A registry that is not simply asked over HTTPS. */
export interface RegistryPlace {
  host: string;
  /** Addresses that are asked before it. */
  mirrors: string[];
  plainHttp: boolean;
  /** PEM file with certificates trusted besides the system's. */
  caFile?: string;
}

export interface NetworkSettings {
  /** Addresses of the guests as the host sees them, IPv4 with prefix length. */
  subnet: string;
  /** Name servers for guests; empty means the host's own. */
  dns: string[];
}

/** `<url>#<scope>`: names a target everywhere, in records too, so it never changes its form. */
export function targetKey(url: string, scope: ForgeScope): string {
  return `${url}#${scopeText(scope)}`;
}

/** `instance`, `user`, `org:<owner>` or `repo:<owner>/<name>`. */
export function scopeText(scope: ForgeScope): string {
  if (scope.kind === "org") return `org:${scope.owner}`;
  if (scope.kind === "repo") return `repo:${scope.owner}/${scope.repo}`;
  return scope.kind;
}

/** The pool as the plan sees it. */
export function poolOf(settings: PoolSettings, flavour: "gitea" | "forgejo", guest: GuestSettings): Pool {
  const engine = settings.engine ?? defaultEngine(settings, flavour, guest);
  return {
    name: settings.name,
    order: settings.order,
    labels: settings.labels,
    minRunners: settings.minRunners,
    maxRunners: settings.maxRunners,
    minIdle: settings.minIdle,
    driver: settings.driver,
    engine,
    ...(settings.mute === undefined ? {} : { mute: settings.mute }),
    ...(settings.trust === undefined ? {} : { trust: settings.trust }),
    target: settings.target,
    prefix: settings.prefix,
    memoryMib: settings.memoryMib,
    vcpus: settings.vcpus,
    diskMib: settings.diskMib,
    limits: settings.limits,
  };
}

/** The forge's own engine; in images that we build and on the host only where its binary was given, else the built-in one. */
function defaultEngine({ driver, mute }: PoolSettings, flavour: "gitea" | "forgejo", guest: GuestSettings): EngineName {
  if (mute === true) return "gitea-runner";
  const own = flavour === "gitea" ? "gitea-runner" : "forgejo-runner";
  return (driver === "qemu" || driver === "native") && guest.engines[own] === undefined ? "shell" : own;
}

/** Names of the pools that a driver makes sandboxes for, in the file's order. */
export function poolsOf(settings: Settings, driver: DriverName): string[] {
  return settings.pools.filter((pool) => pool.driver === driver).map((pool) => pool.name);
}
