import { RestError, type SimulatedRequest } from "../http/message.ts";
import type { Params } from "../http/router.ts";
import type { AccessToken, Account, Repository, Scope, Task } from "../records.ts";
import { INSTANCE, type World } from "../world.ts";

/** The four places where runners and jobs are managed, with the token category that each wants. */
export const PLACES = [
  { kind: "instance", prefix: "/admin", category: "admin" },
  { kind: "organization", prefix: "/orgs/:org", category: "organization" },
  { kind: "user", prefix: "/user", category: "user" },
  { kind: "repository", prefix: "/repos/:owner/:repo", category: "repository" },
] as const;

export type Place = (typeof PLACES)[number];

/** Who asks: a person by access token, or a job by its own token. */
export type Caller = { kind: "person"; account: Account; scopes: string[] } | { kind: "job"; task: Task };

/** Finds the caller of `Authorization: token|bearer|basic`; undefined without credentials, an error with wrong ones. */
export function identify(world: World, request: SimulatedRequest): Caller | undefined {
  const header = request.headers.get("authorization");
  if (header === null) return undefined;
  const [scheme = "", ...values] = header.split(" ");
  const secrets = scheme.toLowerCase() === "basic" ? basicSecrets(values.join("")) : [values.join("")];
  for (const secret of secrets) {
    const caller = callerOf(world, secret);
    if (caller !== undefined) return caller;
  }
  throw new RestError(401, "invalid username, password or token");
}

/** What a caller may act on: rows of exactly `scope`, jobs of repositories that `covers` accepts. */
export interface Grant {
  caller: Caller;
  scope: Scope;
  /** Undefined outside repository places. */
  repository: Repository | undefined;
  covers: (repository: Repository) => boolean;
}

/**
 * Checks token, token scope and role as the forges do, in their order.
 * @param role what a repository place asks for; the other places always ask for their owner
 */
export function authorize(
  world: World,
  request: SimulatedRequest,
  params: Params,
  place: Place,
  role: "owner" | "reader",
): Grant {
  const caller = identify(world, request);
  if (caller?.kind === "person") requireScope(caller.scopes, request.method, place.category);
  const repository = place.kind === "repository" ? visibleRepository(world, caller, params) : undefined;
  if (caller === undefined) throw new RestError(401, "token is required");
  const account = caller.kind === "person" ? caller.account : undefined;
  if (repository !== undefined) {
    if (role === "owner" && !owns(account, repository.owner))
      throw new RestError(403, "user should be the owner of the repo");
    const scope = { ownerId: 0, repositoryId: repository.id };
    return { caller, scope, repository, covers: (other) => other === repository };
  }
  if (place.kind === "instance") {
    if (account?.admin !== true) throw new RestError(403, "user should be the site admin");
    return { caller, scope: INSTANCE, repository, covers: () => true };
  }
  if (place.kind === "organization") {
    const organization = world.accounts.get((params["org"] ?? "").toLowerCase());
    if (organization?.kind !== "organization") throw new RestError(404, "GetOrgByName");
    if (!owns(account, organization)) throw new RestError(403, "Must be an organization owner");
    return ownerGrant(caller, organization);
  }
  if (account === undefined) throw new RestError(401, "token is required");
  return ownerGrant(caller, account);
}

export function canRead(caller: Caller | undefined, repository: Repository): boolean {
  if (!repository.private) return true;
  if (caller === undefined) return false;
  if (caller.kind === "job") return caller.task.job.run.repository === repository;
  return owns(caller.account, repository.owner) || repository.readers.has(caller.account.id);
}

/** Repository of `:owner/:repo`, as far as the caller may know of it. */
export function visibleRepository(world: World, caller: Caller | undefined, params: Params): Repository {
  const repository = world.repositories.get(`${params["owner"]}/${params["repo"]}`.toLowerCase());
  if (repository === undefined || !canRead(caller, repository)) throw new RestError(404, "not found");
  return repository;
}

export function requireScope(scopes: string[], method: string, category: string): void {
  const write = `write:${category}`;
  const wanted = method === "GET" || method === "HEAD" ? `read:${category}` : write;
  if (scopes.some((scope) => scope === "all" || scope === wanted || scope === write)) return;
  const held = scopes.join(",");
  throw new RestError(
    403,
    `token does not have at least one of required scope(s), required=[${wanted}], token scope=${held}`,
  );
}

function owns(account: Account | undefined, owner: Account): boolean {
  return account !== undefined && (account.admin || account === owner || owner.owners.has(account.id));
}

const ownerGrant = (caller: Caller, owner: Account): Grant => ({
  caller,
  scope: { ownerId: owner.id, repositoryId: 0 },
  repository: undefined,
  covers: (repository) => repository.owner === owner,
});

function callerOf(world: World, secret: string): Caller | undefined {
  const token: AccessToken | undefined = world.tokens.get(secret);
  if (token !== undefined) return { kind: "person", account: token.account, scopes: token.scopes };
  for (const task of world.tasks.values()) {
    if (task.token === secret && task.status === "running") return { kind: "job", task };
  }
  return undefined;
}

/** Both halves of basic credentials: either may be the token. */
function basicSecrets(value: string): string[] {
  const text = Buffer.from(value, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? [text] : [text.slice(colon + 1), text.slice(0, colon)];
}
