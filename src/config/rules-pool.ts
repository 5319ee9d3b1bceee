import type { Draft, DraftPool, Report } from "./draft.ts";
import { formatDuration } from "./duration.ts";
import { mergeLimits } from "./limits.ts";
import { type Path, quote } from "./problems.ts";
import { checkTrust } from "./rules-trust.ts";

export function checkPools(draft: Draft, report: Report): void {
  checkNames(draft, report);
  checkKernels(draft, report);
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    if (pool === undefined) continue;
    checkCounts(pool, index, report);
    checkDriver(draft, pool, index, report);
    checkLabels(pool, index, report);
    checkLimits(draft, pool, index, report);
    checkTrust(pool, index, report);
  }
}

function checkNames(draft: Draft, report: Report): void {
  const first = new Map<string, number>();
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    if (pool?.name === undefined) continue;
    const earlier = first.get(pool.name);
    if (earlier === undefined) {
      first.set(pool.name, index);
      continue;
    }
    const message = `${quote(pool.name)} is already the name of pools[${earlier}]; names are unique`;
    report.error(["pools", index, "name"], message);
  }
}

function checkCounts(pool: DraftPool, index: number, report: Report): void {
  const at = (key: string): Path => ["pools", index, key];
  const most = pool.maxRunners || 10;
  const { minRunners = pool.driver === "native" ? 0 : 1, minIdle = 0 } = pool;
  if (pool.maxRunners === 0) {
    report.warn(at("maxRunners"), "0 means the default, 10, as in the original; to stop a pool pause or remove it");
  }
  if (minRunners > most) {
    report.error(at("minRunners"), `must be at most maxRunners, found ${minRunners} > ${most}`, at("maxRunners"));
  }
  if (minIdle > most) {
    report.error(at("minIdle"), `must be at most maxRunners, found ${minIdle} > ${most}`, at("maxRunners"));
  }
  if (minRunners === 0) {
    report.differs(at("minRunners"), "0 means none here, the pool scales to zero; the original took 1");
  }
}

function checkDriver({ guest }: Draft, pool: DraftPool, index: number, report: Report): void {
  const engines = guest?.engines;
  const at = (...keys: string[]): Path => ["pools", index, ...keys];
  const driver = pool.driver ?? "firecracker";
  if (pool.driver === undefined && pool.qemu !== undefined) {
    report.error(at("qemu"), "a pool without driver is a firecracker pool; add driver: qemu", at("driver"));
  }
  const { engine } = pool;
  const isOriginal = pool.runner?.agent === "original";
  if (isOriginal && driver === "native") {
    report.error(at("runner", "agent"), "original is for images; a pool with driver: native has none", at("driver"));
  }
  if (isOriginal && engine !== undefined && engine !== "gitea-runner") {
    const message = `the original's agent starts act_runner, found ${engine}; leave engine out`;
    report.error(at("engine"), message, at("runner", "agent"));
  }
  if (
    (driver === "qemu" || driver === "native") &&
    !isOriginal &&
    engine !== undefined &&
    engine !== "shell" &&
    engines?.[engine] === undefined
  ) {
    const fix = `name its binary in guest.engines.${engine}, or take engine: shell, which is built in`;
    report.error(at("engine"), `${driver === "qemu" ? "the guest image" : "this host"} has no ${engine}; ${fix}`);
  }
  if (driver === "native") {
    for (const key of ["minRunners", "minIdle"] as const) {
      if (pool[key] === undefined || pool[key] === 0) continue;
      const message = `must be 0 with driver: native: each runner is registered for one job and then started`;
      report.error(at(key), message, at("driver"));
    }
  }
  for (const block of ["firecracker", "qemu", "native"] as const) {
    if (pool[block] !== undefined && pool.driver !== undefined && pool.driver !== block) {
      report.warn(at(block), `not used with driver: ${driver}`);
    }
  }
  if ((driver === "firecracker" || driver === "qemu") && pool.runner?.image === undefined) {
    report.error(at("runner", "image"), "missing: the image that the pool's microVMs boot", at("driver"), at("runner"));
  }
  if (pool.qemu?.initrdPath !== undefined && pool.qemu.kernelPath === undefined) {
    report.error(at("qemu", "initrdPath"), "an initrd needs the kernelPath it belongs to", at("qemu", "kernelPath"));
  }
  if (pool.firecracker?.initrdPath !== undefined && pool.firecracker.kernelPath === undefined) {
    const keys = at("firecracker", "kernelPath");
    report.error(at("firecracker", "initrdPath"), "an initrd needs the kernelPath it belongs to", keys);
  }
  if (pool.firecracker?.imdsCompat === true && (pool.firecracker.mmds ?? "off") === "off") {
    const message = "changes only Firecracker's own service: set mmds to V2 or V1";
    report.error(at("firecracker", "imdsCompat"), message, at("firecracker", "mmds"));
  }
  if (driver === "firecracker" && pool.firecracker?.jailer === false) {
    report.warn(at("firecracker", "jailer"), WITHOUT_JAILER);
  }
  for (const key of ["memSizeMib", "vcpuCount"] as const) {
    if (driver !== "firecracker" || pool.firecracker?.[key] !== 0) continue;
    report.warn(at("firecracker", key), "0 means the default");
  }
}

/** What a pool gives up that starts Firecracker without its jailer. */
const WITHOUT_JAILER =
  "without the jailer a guest that breaks out of Firecracker sees the host's processes, and every file that all users may read; its user, network, limits and seccomp filters stay";

function checkKernels(draft: Draft, report: Report): void {
  const pools = (draft.pools ?? []).map((pool) =>
    (pool?.driver ?? "firecracker") === "firecracker" ? pool : undefined,
  );
  const first = pools.findIndex((pool) => pool !== undefined);
  const kernel = pools[first]?.firecracker?.kernelPath;
  for (const [index, pool] of pools.entries()) {
    if (pool === undefined || kernel === undefined || pool.firecracker?.kernelPath !== undefined) continue;
    const message = `not set: the kernel of pools[${first}] is used, ${quote(kernel)}`;
    report.warn(["pools", index, "firecracker", "kernelPath"], message);
  }
}

function checkLabels(pool: DraftPool, index: number, report: Report): void {
  const path: Path = ["pools", index, "runner", "labels"];
  const labels = pool.runner?.labels ?? [];
  if (labels.length === 0) report.warn(path, "none: the pool serves only jobs without runs-on");
  const seen = new Set<string>();
  for (const [position, label] of labels.entries()) {
    if (label === undefined) continue;
    const [name = "", schema] = label.split(":");
    if (seen.has(name)) report.warn([...path, position], `${quote(name)} is listed twice`);
    seen.add(name);
    if (schema === undefined || schema === "host") continue;
    if (pool.driver === "native") {
      report.error([...path, position], `a native pool runs jobs on the host: write ${quote(`${name}:host`)}`);
    } else if (pool.engine === "shell") {
      report.error(
        [...path, position],
        `the engine shell runs jobs without containers: write ${quote(name)} or choose another engine`,
      );
    }
  }
}

function checkLimits(draft: Draft, pool: DraftPool, index: number, report: Report): void {
  const place = (key: string): Path =>
    pool.limits?.[key as "job"] === undefined ? ["limits", key] : ["pools", index, "limits", key];
  const limits = mergeLimits(draft.limits ?? {}, pool.limits ?? {});
  if (limits.job < limits.engine) {
    const found = `${formatDuration(limits.job)} < ${formatDuration(limits.engine)}`;
    report.error(place("job"), `must be at least the engine's limit, found ${found}`, place("engine"));
  }
  if (limits.lifetime < limits.job) {
    const found = `${formatDuration(limits.lifetime)} < ${formatDuration(limits.job)}`;
    report.error(place("lifetime"), `must be at least the job limit, found ${found}`, place("job"), place("engine"));
  }
}
