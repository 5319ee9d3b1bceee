import type { GitStore } from "../git.ts";
import { type Answer, RestError, type SimulatedRequest } from "../http/message.ts";
import { type Handler, type Params, type Route, route } from "../http/router.ts";
import type { Repository } from "../records.ts";
import type { World } from "../world.ts";
import { identify, requireScope, visibleRepository } from "./access.ts";

/** What engines fetch a job's repository from: git over HTTP, and archives. */
export function checkoutRoutes(world: World, git: GitStore): Route[] {
  const archive: Handler = (request, params) => {
    const match = /^(.+)\.(tar\.gz|zip)$/.exec(params["rest"] ?? "");
    if (match?.[1] === undefined) throw new RestError(404, "not found");
    return sendArchive(git, readable(world, request, params), match[1], match[2] === "zip" ? "zip" : "tar.gz");
  };
  const serve: Handler = (request, params) => gitHttp(world, git, request, params);
  return [
    route("GET", "/:owner/:repo/archive/*", archive),
    route("GET", "/api/v1/repos/:owner/:repo/archive/*", archive),
    route("GET", "/:owner/:repo/info/refs", (request, params) => serve(request, { ...params, rest: "info/refs" })),
    route("POST", "/:owner/:repo/git-upload-pack", (request, params) =>
      serve(request, { ...params, rest: "git-upload-pack" }),
    ),
  ];
}

async function gitHttp(world: World, git: GitStore, request: SimulatedRequest, params: Params): Promise<Answer> {
  const named = { ...params, repo: (params["repo"] ?? "").replace(/\.git$/, "") };
  const asked = request.query.get("service");
  if (asked !== null && asked !== "git-upload-pack") throw new RestError(403, "this repository can only be read");
  try {
    const repository = readable(world, request, named);
    if (repository.directory === undefined) throw new RestError(404, "not found");
    return await git.serve(repository, params["rest"] ?? "", request);
  } catch (error) {
    // Git asks for credentials only after a 401.
    const unknown = error instanceof RestError && error.status === 404 && request.headers.get("authorization") === null;
    if (!unknown) throw error;
    return { status: 401, headers: { "www-authenticate": 'Basic realm="Gitea"' }, body: "Unauthorized\n" };
  }
}

async function sendArchive(git: GitStore, repository: Repository, name: string, format: "tar.gz" | "zip") {
  const commit = await git.resolve(repository, name);
  if (commit === undefined) throw new RestError(404, "not found");
  const type = format === "zip" ? "application/zip" : "application/gzip";
  return { status: 200, headers: { "content-type": type }, body: await git.archive(repository, commit, format) };
}

function readable(world: World, request: SimulatedRequest, params: Params): Repository {
  const caller = identify(world, request);
  if (caller?.kind === "person") requireScope(caller.scopes, "GET", "repository");
  return visibleRepository(world, caller, params);
}
