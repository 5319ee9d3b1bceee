import type { GitStore } from "./git.ts";
import { json, RestError } from "./http/message.ts";
import { type Handler, type Route, route } from "./http/router.ts";
import { checkoutRoutes } from "./rest/checkout.ts";
import { forgejoRoutes } from "./rest/forgejo.ts";
import { generalRoutes } from "./rest/general.ts";
import { giteaRoutes } from "./rest/gitea.ts";
import { hookRoutes } from "./rest/hooks.ts";
import { repositoryRoutes } from "./rest/repositories.ts";
import { createFetch, fetchSingleTask } from "./rpc/fetch.ts";
import { createRpc, type RpcHandler } from "./rpc/service.ts";
import type { World } from "./world.ts";

const SINGLE_TASK = "/api/actions/runner.v1.RunnerService/FetchSingleTask";

/** Everything that the simulated forge answers, below its base path. Earlier routes win. */
export function simulatorRoutes(world: World, git: GitStore): Route[] {
  const rest = [
    ...generalRoutes(world),
    ...(world.traits.flavour === "gitea" ? giteaRoutes(world) : forgejoRoutes(world)),
    ...hookRoutes(world),
    ...repositoryRoutes(world),
    ...checkoutRoutes(world, git),
  ];
  const fetch = createFetch(world);
  const rpc = [...createRpc(world, fetch)].map(([path, handler]) =>
    route("POST", `/api/actions${path}`, rpcHandler(handler)),
  );
  if (world.traits.queueShowsHandle) rpc.push(route("POST", SINGLE_TASK, (request) => fetchSingleTask(fetch, request)));
  return [...rpc, ...rest.map((one) => ({ ...one, handler: restHandler(world, one.handler) }))];
}

/** Turns refusals into the error body of the forges. */
function restHandler(world: World, handler: Handler): Handler {
  return async (request, params) => {
    try {
      return await handler(request, params);
    } catch (error) {
      if (!(error instanceof RestError)) throw error;
      const url = `${world.url}/api/swagger`;
      return json(error.status, { message: error.message, url, ...(error.status === 404 ? { errors: null } : {}) });
    }
  };
}

function rpcHandler(handler: RpcHandler): Handler {
  return async (request) => {
    const answer = await handler(
      new Request(`http://simulator${request.path}`, {
        method: request.method,
        headers: request.headers,
        body: new Uint8Array(request.body),
        signal: request.signal,
      }),
    );
    const body = Buffer.from(await answer.arrayBuffer());
    return { status: answer.status, headers: Object.fromEntries(answer.headers), body };
  };
}
