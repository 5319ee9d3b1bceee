import { formatDuration } from "./duration.ts";
import { parseListenAddress } from "./fields.ts";
import { mergeLimits } from "./limits.ts";
import { type Path, quote } from "./problems.ts";
import type { ConfigInput } from "./schema.ts";

type Partly<T> = T extends (infer Item)[]
  ? (Partly<Item> | undefined)[]
  : T extends object
    ? { [K in keyof T]?: Partly<T[K]> | undefined }
    : T;

/** A file's content of which everything that the schema refused is gone: what is left has its type. */
export type Draft = Partly<ConfigInput>;
type DraftPool = NonNullable<NonNullable<Draft["pools"]>[number]>;
export type DraftForge = NonNullable<Draft["gitea"]>;

export interface Report {
  error(path: Path, message: string, ...also: Path[]): void;
  warn(path: Path, message: string, ...also: Path[]): void;
  /** Says where the program differs from the original; only for files of the original. */
  differs(path: Path, message: string): void;
}

/** What keys mean together. A rule is silent where the schema already refused one of its keys. */
export function checkRules(draft: Draft, report: Report): void {
  checkForge(draft, report);
  checkServer(draft, report);
  checkNames(draft, report);
  checkKernels(draft, report);
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    if (pool === undefined) continue;
    checkCounts(pool, index, report);
    checkDriver(pool, index, report);
    checkLabels(pool, index, report);
    checkLimits(draft, pool, index, report);
    checkPoolScope(draft, pool, index, report);
  }
}

/** Which block describes the forge. */
export const forgeKey = (draft: Draft): "gitea" | "forge" =>
  draft.forge !== undefined && draft.gitea === undefined ? "forge" : "gitea";

function checkForge(draft: Draft, report: Report): void {
  const key = forgeKey(draft);
  const forge = draft[key];
  if (draft.gitea !== undefined && draft.forge !== undefined) {
    report.error(["forge"], "gitea and forge are two names of the same block; keep one");
  }
  if (forge === undefined)
    return report.error(["gitea"], "missing: the forge's address and token (instanceURL, apiTokenFile)", ["forge"]);
  const needed = (draft.pools ?? []).some((pool) => pool?.forge?.apiTokenFile === undefined);
  if (forge.apiToken === undefined && forge.apiTokenFile === undefined && needed) {
    report.error([key, "apiTokenFile"], "missing: a file with the API token (or apiToken with the token itself)", [
      key,
      "apiToken",
    ]);
  }
  if (forge.apiToken !== undefined && forge.apiTokenFile !== undefined) {
    report.warn([key, "apiTokenFile"], "not used, since apiToken is set; remove one of them");
  }
  checkUrl(forge, key, report);
  checkScope(forge, key, report);
}

function checkUrl(forge: DraftForge, key: string, report: Report): void {
  const url = URL.parse(forge.instanceURL ?? "");
  if (url?.protocol === "http:" && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    report.warn([key, "instanceURL"], "plain http: the API token travels readable for everyone on the way; use https");
  }
}

function checkScope(forge: DraftForge, key: string, report: Report): void {
  const { runnerScope: scope, runnerOwner: owner, runnerRepo: repo } = forge;
  if ((scope === "org" || scope === "repo") && owner === undefined) {
    report.error([key, "runnerOwner"], `missing: runnerScope ${scope} needs an owner`, [key, "runnerScope"]);
  }
  if (scope === "repo" && repo === undefined) {
    report.error([key, "runnerRepo"], "missing: runnerScope repo needs a repository", [key, "runnerScope"]);
  }
  const bad = [key, "runnerScope"];
  if (scope === undefined && owner !== undefined) {
    report.differs(
      [key, "runnerOwner"],
      "without runnerScope the scope is org, since there is an owner; the original took instance",
    );
  }
  if (repo !== undefined && scope !== "repo") {
    report.warn(
      [key, "runnerRepo"],
      "not used; runners are registered for one repository only with runnerScope: repo",
      bad,
    );
  }
  if (owner !== undefined && (scope === "instance" || scope === "user")) {
    report.warn([key, "runnerOwner"], `not used with runnerScope ${scope}`, bad);
  }
}

function checkPoolScope(draft: Draft, pool: DraftPool, index: number, report: Report): void {
  const own = pool.forge;
  const at = (key: string): Path => ["pools", index, "forge", key];
  const globalKey = forgeKey(draft);
  const inherited: Path[] = [[globalKey, "runnerOwner"], [globalKey, "runnerRepo"], at("scope")];
  const scope = own?.scope;
  if (
    (scope === "org" || scope === "repo") &&
    own?.owner === undefined &&
    draft[globalKey]?.runnerOwner === undefined
  ) {
    report.error(
      at("owner"),
      `missing: scope ${scope} needs an owner here or as ${globalKey}.runnerOwner`,
      ...inherited,
    );
  }
  if (scope === "repo" && own?.repo === undefined && draft[globalKey]?.runnerRepo === undefined) {
    report.error(at("repo"), `missing: scope repo needs a repository here or as ${globalKey}.runnerRepo`, ...inherited);
  }
  if (own?.repo !== undefined && scope !== "repo") {
    report.error(at("repo"), "one repository needs scope: repo beside it", at("scope"));
  }
}

function checkServer(draft: Draft, report: Report): void {
  const defaults = { address: "127.0.0.1:8080", metricsAddress: "127.0.0.1:8081" };
  for (const key of ["address", "metricsAddress"] as const) {
    const value = draft.server?.[key];
    const address = parseListenAddress(value ?? "");
    if (address?.host === "") {
      report.warn(
        ["server", key],
        `without a host it is reachable from this machine only; write 0.0.0.0:${address.port} for every network`,
      );
    }
  }
  if (draft.server?.address === undefined) {
    report.differs(
      ["server", "address"],
      `not set: the API listens on ${defaults.address}; the original took every network`,
    );
  }
  const [api, metrics] = (["address", "metricsAddress"] as const).map((key) =>
    parseListenAddress(draft.server?.[key] ?? defaults[key]),
  );
  if (
    api !== undefined &&
    metrics !== undefined &&
    api.port !== 0 &&
    api.port === metrics.port &&
    sameHost(api.host, metrics.host)
  ) {
    report.error(["server", "metricsAddress"], `must differ from server.address, found port ${metrics.port} for both`, [
      "server",
      "address",
    ]);
  }
}

const sameHost = (one: string, other: string): boolean =>
  one === other || [one, other].some((host) => host === "0.0.0.0" || host === "::");

function checkNames(draft: Draft, report: Report): void {
  const first = new Map<string, number>();
  for (const [index, pool] of (draft.pools ?? []).entries()) {
    if (pool?.name === undefined) continue;
    const earlier = first.get(pool.name);
    if (earlier === undefined) first.set(pool.name, index);
    else
      report.error(
        ["pools", index, "name"],
        `${quote(pool.name)} is already the name of pools[${earlier}]; names are unique`,
      );
  }
}

function checkCounts(pool: DraftPool, index: number, report: Report): void {
  const at = (key: string): Path => ["pools", index, key];
  const most = pool.maxRunners || 10;
  if (pool.maxRunners === 0)
    report.warn(at("maxRunners"), "0 means the default, 10, as in the original; to stop a pool pause or remove it");
  if ((pool.minRunners ?? 1) > most) {
    report.error(at("minRunners"), `must be at most maxRunners, found ${pool.minRunners} > ${most}`, at("maxRunners"));
  }
  if ((pool.minIdle ?? 0) > most)
    report.error(at("minIdle"), `must be at most maxRunners, found ${pool.minIdle} > ${most}`, at("maxRunners"));
  if (pool.minRunners === 0)
    report.differs(at("minRunners"), "0 means none here, the pool scales to zero; the original took 1");
}

function checkDriver(pool: DraftPool, index: number, report: Report): void {
  const at = (...keys: string[]): Path => ["pools", index, ...keys];
  const driver = pool.driver ?? "firecracker";
  if (pool.driver === undefined && pool.qemu !== undefined) {
    report.error(at("qemu"), "a pool without driver is a firecracker pool; add driver: qemu", at("driver"));
  }
  for (const block of ["firecracker", "qemu"] as const) {
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
  for (const key of ["memSizeMib", "vcpuCount"] as const) {
    if (driver === "firecracker" && pool.firecracker?.[key] === 0)
      report.warn(at("firecracker", key), "0 means the default");
  }
}

function checkKernels(draft: Draft, report: Report): void {
  const pools = (draft.pools ?? []).map((pool) =>
    (pool?.driver ?? "firecracker") === "firecracker" ? pool : undefined,
  );
  const first = pools.findIndex((pool) => pool !== undefined);
  const kernel = pools[first]?.firecracker?.kernelPath;
  for (const [index, pool] of pools.entries()) {
    if (pool === undefined || index === first || pool.firecracker?.kernelPath !== undefined || kernel === undefined)
      continue;
    report.warn(
      ["pools", index, "firecracker", "kernelPath"],
      `not set: the kernel of pools[${first}] is used, ${quote(kernel)}`,
      ["pools", first, "firecracker", "kernelPath"],
    );
  }
}

function checkLabels(pool: DraftPool, index: number, report: Report): void {
  const path: Path = ["pools", index, "runner", "labels"];
  const labels = pool.runner?.labels ?? [];
  if (labels.length === 0)
    report.warn(path, "none: the pool serves only jobs without runs-on", ["pools", index, "runner"]);
  const seen = new Set<string>();
  for (const [position, label] of labels.entries()) {
    if (label === undefined) continue;
    const [name = "", schema] = label.split(":");
    if (seen.has(name)) report.warn([...path, position], `${quote(name)} is listed twice`);
    seen.add(name);
    if (pool.engine === "shell" && schema !== undefined && schema !== "host") {
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
