import { type Draft, type DraftForge, type DraftPool, forgeKey, type Report } from "./draft.ts";
import type { Path } from "./problems.ts";

export function checkForge(draft: Draft, report: Report): void {
  const key = forgeKey(draft);
  const forge = draft[key];
  if (draft.gitea !== undefined && draft.forge !== undefined) {
    report.error(["forge"], "gitea and forge are two names of the same block; keep one");
  }
  if (forge === undefined) {
    report.error(["gitea"], "missing: the forge's address and token (instanceURL, apiTokenFile)", ["forge"]);
    return;
  }
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
  checkDangers(draft, forge, key, report);
}

function checkUrl(forge: DraftForge, key: string, report: Report): void {
  const url = URL.parse(forge.instanceURL ?? "");
  if (url?.protocol === "http:" && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    report.warn([key, "instanceURL"], "plain http: the API token travels readable for everyone on the way; use https");
  }
}

function checkDangers(draft: Draft, forge: DraftForge, key: string, report: Report): void {
  if (forge.legacyRegistrationToken === true) {
    report.warn(
      [key, "legacyRegistrationToken"],
      "every job can read the registration token and register runners with it",
    );
    if (!(draft.pools ?? []).some((pool) => pool?.runner?.agent === "original")) {
      report.warn([key, "legacyRegistrationToken"], "not used: no pool has runner.agent: original");
    }
  }
  if (forge.allowPersistentRegistration !== true) return;
  const native = (draft.pools ?? []).findIndex((pool) => pool?.driver === "native");
  if (native >= 0) {
    report.error([key, "allowPersistentRegistration"], `not with a native pool, found pools[${native}]`);
  } else {
    report.warn(
      [key, "allowPersistentRegistration"],
      "with an older forge a job can keep its runner and take other jobs",
    );
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

/** A pool's own scope, over the global one. */
export function checkPoolScope(draft: Draft, pool: DraftPool, index: number, report: Report): void {
  if (pool.driver === "native") return checkNativeScope(pool, index, report);
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

/** The forge itself gives a runner of one repository no job of another; a label would not keep any out. */
function checkNativeScope({ forge }: DraftPool, index: number, report: Report): void {
  for (const key of ["scope", "owner", "repo"] as const) {
    if (forge?.[key] === undefined) continue;
    report.error(
      ["pools", index, "forge", key],
      "not with driver: native, where each runner is registered at the repository of its job; name the repositories in native.trusted",
      ["pools", index, "native", "trusted"],
    );
  }
}
