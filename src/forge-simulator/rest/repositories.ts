import { json, RestError, type SimulatedRequest } from "../http/message.ts";
import { type Params, type Route, route } from "../http/router.ts";
import { renderPull } from "../pulls.ts";
import type { Account, Repository } from "../records.ts";
import type { World } from "../world.ts";
import { type Caller, canRead, identify, requireScope, visibleRepository } from "./access.ts";
import { pageHeaders, pageOf, slice } from "./paging.ts";
import { renderAccount, renderRepository } from "./render.ts";

/** Repositories of an owner, one by its name, its pull requests, and who asks: the same in both flavours. */
export function repositoryRoutes(world: World): Route[] {
  const person = (request: SimulatedRequest, category: string): Caller => {
    const caller = identify(world, request);
    if (caller === undefined) throw new RestError(401, "token is required");
    if (caller.kind === "person") requireScope(caller.scopes, request.method, category);
    return caller;
  };
  const listed = (kind: Account["kind"], category: string) => (request: SimulatedRequest, params: Params) => {
    const caller = person(request, category);
    const owner = world.accounts.get((params["owner"] ?? "").toLowerCase());
    if (owner === undefined || (kind === "organization" && owner.kind !== kind)) throw new RestError(404, "not found");
    const rows = [...world.repositories.values()].filter((one) => one.owner === owner && canRead(caller, one));
    const page = pageOf(request);
    const shown = slice(rows, page).map((one) => render(world, one, caller));
    return json(200, shown, pageHeaders(world.url, request, page, rows.length));
  };
  const visible = (request: SimulatedRequest, params: Params) => {
    const caller = identify(world, request);
    if (caller?.kind === "person") requireScope(caller.scopes, "GET", "repository");
    const repository = visibleRepository(world, caller, params);
    return { caller, repository };
  };
  return [
    route("GET", "/api/v1/user", (request) => {
      const caller = person(request, "user");
      if (caller.kind !== "person") throw new RestError(401, "token is required");
      return json(200, renderAccount(world, caller.account));
    }),
    route("GET", "/api/v1/orgs/:owner/repos", listed("organization", "organization")),
    route("GET", "/api/v1/users/:owner/repos", listed("user", "user")),
    route("GET", "/api/v1/repos/:owner/:repo", (request, params) => {
      const { caller, repository } = visible(request, params);
      return json(200, render(world, repository, caller));
    }),
    route("GET", "/api/v1/repos/:owner/:repo/pulls/:number", (request, params) => {
      const { repository } = visible(request, params);
      const pull = repository.pulls.get(Number(params["number"]));
      if (pull === undefined) throw new RestError(404, "not found");
      return json(200, renderPull(world, repository, pull));
    }),
  ];
}

/** With what the caller may do there; nobody is told anything about others. */
function render(world: World, repository: Repository, caller: Caller | undefined): Record<string, unknown> {
  const account = caller?.kind === "person" ? caller.account : undefined;
  const { owner } = repository;
  const admin = account !== undefined && (account.admin || account === owner || owner.owners.has(account.id));
  const pull = canRead(caller, repository);
  return { ...renderRepository(world, repository), permissions: { admin, push: admin, pull } };
}
