import { dirname, resolve } from "node:path";
import { LOG_LEVELS, type LogLevel } from "../base/log.ts";
import type { TrustPolicy } from "../base/trust.ts";
import {
  type EgressPolicy,
  type FirecrackerSettings,
  type GuestSettings,
  type ImageSettings,
  type ListenAddress,
  type NativeSettings,
  type PoolSettings,
  type Settings,
  type TargetSettings,
  targetKey,
} from "../core/settings.ts";
import type { ForgeScope } from "../core/types.ts";
import { parseDestination } from "./destination.ts";
import type { DraftPool } from "./draft.ts";
import { parseDuration } from "./duration.ts";
import { parseListenAddress } from "./fields.ts";
import { mergeLimits } from "./limits.ts";
import type { Config, ForgeConfig } from "./schema.ts";
import { nativeDefaults } from "./schema-native.ts";
import { firecrackerDefaults, type PoolConfig, qemuDefaults } from "./schema-pool.ts";

/** A checked file as plain settings. Relative paths start at the file's directory. */
export function toSettings(config: Config, forge: ForgeConfig, file: string): Settings {
  const path = (value: string) => resolve(dirname(file), value);
  const targets = new Map<string, TargetSettings>();
  const pools = config.pools.map((pool, order) => {
    const target = targetOf(pool, forge, path);
    targets.set(target.key, together(targets.get(target.key), target));
    return toPool(pool, order, target.key, config, path);
  });
  const { server, webhook, guest, host, cni } = config;
  return {
    logLevel: logLevel(config.logLevel) ?? "info",
    server: {
      address: listen(server.address),
      metricsAddress: listen(server.metricsAddress),
      ...(server.socket !== undefined && { socket: path(server.socket) }),
      ...(server.tokenFile !== undefined && { tokenFile: path(server.tokenFile) }),
    },
    targets: [...targets.values()],
    pools,
    shutdown: config.shutdown,
    drainTimeout: parseDuration(config.drainTimeout) ?? 0,
    pollInterval: parseDuration(config.pollInterval) ?? 0,
    history: config.history,
    ...(webhook !== undefined && { webhook: { secretFile: path(webhook.secretFile) } }),
    guest: { caFiles: guest.caFiles.map(path), env: guest.env, engines: enginePaths(guest.engines, path) },
    network: { subnet: config.network.subnet, dns: config.network.dns },
    images: imageSettings(config.images, path),
    fleet: config.fleet,
    host: defined({ ...host, jailDir: host.jailDir && path(host.jailDir) }),
    containerd: config.containerd,
    ...(cni !== undefined && { cni: { confDir: path(cni.confDir), binDir: path(cni.binDir) } }),
  };
}

function imageSettings(images: Config["images"], path: (text: string) => string): ImageSettings {
  const { authFile, maxSizeMib, pullTimeout, registries } = images;
  return {
    ...(authFile !== undefined && { authFile: path(authFile) }),
    maxSizeMib,
    pullTimeout: parseDuration(pullTimeout) ?? 0,
    registries: registries.map(({ caFile, ...registry }) => ({
      ...registry,
      ...(caFile !== undefined && { caFile: path(caFile) }),
    })),
  };
}

/** Pools that trust different repositories share their target. */
function together(known: TargetSettings | undefined, target: TargetSettings): TargetSettings {
  if (known?.scope.kind !== "trusted" || target.scope.kind !== "trusted") return known ?? target;
  const repositories = [...new Set([...known.scope.repositories, ...target.scope.repositories])];
  return { ...known, scope: { kind: "trusted", repositories } };
}

function enginePaths(engines: Config["guest"]["engines"], path: (text: string) => string): GuestSettings["engines"] {
  const entries = Object.entries(defined(engines)).map(([name, file]) => [name, path(file)]);
  return Object.fromEntries(entries) as GuestSettings["engines"];
}

/** The level a word means, the original's further words included; undefined when it is none. */
export function logLevel(word: string): LogLevel | undefined {
  const level = word.toLowerCase();
  const others: Record<string, LogLevel> = { trace: "debug", warning: "warn", fatal: "error", panic: "error" };
  return LOG_LEVELS.find((known) => known === level) ?? (Object.hasOwn(others, level) ? others[level] : undefined);
}

/** The forge scope a pool's runners are registered at; those of a native one at the repository of each job. */
export function scopeOf({ driver, native, forge: pool = {} }: ScopedPool, forge: ScopeKeys): ForgeScope {
  if (driver === "native") return { kind: "trusted", repositories: (native?.trusted ?? []).filter(isDefined) };
  const own = pool.scope ?? (pool.owner === undefined ? undefined : "org");
  const kind = own ?? forge.runnerScope ?? (forge.runnerOwner === undefined ? "instance" : "org");
  const owner = pool.owner ?? forge.runnerOwner ?? "";
  if (kind === "org") return { kind, owner };
  if (kind === "repo") return { kind, owner, repo: pool.repo ?? forge.runnerRepo ?? "" };
  return { kind };
}

const isDefined = (name: string | undefined): name is string => name !== undefined;

type ScopedPool = Pick<DraftPool, "driver" | "native" | "forge">;
type ScopeKeys = Pick<ForgeConfig, "runnerScope" | "runnerOwner" | "runnerRepo">;

function targetOf(pool: PoolConfig, forge: ForgeConfig, path: (value: string) => string): TargetSettings {
  const scope = scopeOf(pool, forge);
  const url = forge.instanceURL.replace(/\/+$/, "");
  const inline = pool.forge.apiTokenFile === undefined && forge.apiToken !== undefined;
  return {
    key: targetKey(url, scope),
    url,
    scope,
    token: inline
      ? { kind: "inline", value: (forge.apiToken ?? "").trim() }
      : { kind: "file", path: path(pool.forge.apiTokenFile ?? forge.apiTokenFile ?? "") },
    ...(forge.caFile !== undefined && { caFile: path(forge.caFile) }),
    ...(forge.proxy !== undefined && { proxy: forge.proxy }),
    legacyRegistrationToken: forge.legacyRegistrationToken,
    allowPersistentRegistration: forge.allowPersistentRegistration,
  };
}

function toPool(
  pool: PoolConfig,
  order: number,
  target: string,
  config: Config,
  path: (value: string) => string,
): PoolSettings {
  const firecracker = { ...firecrackerDefaults(), ...pool.firecracker };
  const qemu = { ...qemuDefaults(), ...pool.qemu };
  const native = { ...nativeDefaults(), ...pool.native };
  const size = pool.driver === "qemu" ? qemu : firecracker;
  const isMicrovm = pool.driver === "qemu" || pool.driver === "firecracker";
  const labels = [...new Map(pool.runner.labels.map((label) => [label.split(":")[0] ?? label, label])).entries()];
  return {
    name: pool.name,
    order,
    labels: labels.map(([name]) => name),
    runnerLabels: labels.map(([name, label]) => (label === name ? `${name}:host` : label)),
    // A native runner is made for one job that is there.
    minRunners: pool.driver === "native" ? 0 : pool.minRunners,
    maxRunners: pool.maxRunners || 10,
    minIdle: pool.minIdle,
    driver: pool.driver,
    ...(pool.engine !== undefined && { engine: pool.engine }),
    ...(pool.runner.agent === "original" && { mute: true as const }),
    target,
    prefix: pool.runner.name ?? pool.name,
    memoryMib: isMicrovm ? size.memSizeMib || 2_048 : pool.driver === "native" ? native.memoryMib : 0,
    vcpus: isMicrovm ? size.vcpuCount || 2 : 0,
    diskMib: isMicrovm ? (pool.driver === "qemu" ? qemu : firecracker).diskSizeMib : 0,
    limits: mergeLimits(config.limits, pool.limits),
    egress: egressOf(config.network, pool.network),
    ...(pool.runner.image !== undefined && { image: pool.runner.image }),
    imagePullPolicy: pool.runner.imagePullPolicy,
    ...(pool.driver === "qemu" && {
      qemu: {
        ...defined({
          kernelPath: qemu.kernelPath && path(qemu.kernelPath),
          initrdPath: qemu.initrdPath && path(qemu.initrdPath),
          binaryPath: binary(qemu.binaryPath, path),
        }),
        accelerator: qemu.accelerator,
        diskSizeMib: qemu.diskSizeMib,
      },
    }),
    ...(pool.driver === "firecracker" && {
      firecracker: firecrackerSettings(firecracker, firstKernel(config), path),
    }),
    ...(pool.driver === "native" && { native: nativeSettings(native), trust: trustOf(native) }),
  };
}

function firecrackerSettings(
  given: NonNullable<PoolConfig["firecracker"]>,
  first: { kernelPath?: string | undefined; initrdPath?: string | undefined } | undefined,
  path: (value: string) => string,
): FirecrackerSettings {
  const { memSizeMib: _, vcpuCount: __, ...more } = given;
  const { binaryPath, jailerPath, kernelPath: ownKernel, initrdPath: ownInitrd, ...rest } = more;
  // An initrd goes with its kernel.
  const { kernelPath, initrdPath } =
    ownKernel === undefined ? { ...first } : { kernelPath: ownKernel, initrdPath: ownInitrd };
  return {
    ...rest,
    ...defined({
      binaryPath: binary(binaryPath, path),
      jailerPath: binary(jailerPath, path),
      kernelPath: kernelPath && path(kernelPath),
      initrdPath: initrdPath && path(initrdPath),
    }),
  };
}

function nativeSettings(native: NonNullable<PoolConfig["native"]>): NativeSettings {
  const { poolMemoryMib, group, trusted: _t, events: _e, branches: _b, allowForks: _f, ...rest } = native;
  return { ...rest, ...defined({ poolMemoryMib, group }) };
}

function egressOf(all: Config["network"], own: PoolConfig["network"]): EgressPolicy {
  return {
    reach: own.egress ?? all.egress,
    allow: (own.allow ?? all.allow).map(parseDestination).filter((found) => found !== undefined),
    rates: defined({ ...all.rates, ...defined(own.rates) }),
  };
}

const trustOf = ({ trusted, events, branches, allowForks }: NonNullable<PoolConfig["native"]>): TrustPolicy => ({
  repositories: trusted,
  events,
  ...(branches === undefined ? {} : { branches }),
  allowForks,
});

/** Pools without a kernel of their own take that of the first one. */
const firstKernel = (config: Config) => config.pools.find((pool) => pool.driver === "firecracker")?.firecracker;

/** A bare program name is searched in PATH. */
const binary = (value: string | undefined, path: (value: string) => string): string | undefined =>
  value?.includes("/") === true ? path(value) : value;

function listen(value: string): ListenAddress {
  const { host, port } = parseListenAddress(value) ?? { host: "", port: 0 };
  return { host: host === "" ? "127.0.0.1" : host, port };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Leaves out what is undefined. */
function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}
