import * as z from "zod";
import { empty, json, RestError, type SimulatedRequest } from "../http/message.ts";
import { type Params, type Route, route } from "../http/router.ts";
import type { Hook } from "../records.ts";
import { sameScope, type World } from "../world.ts";
import { authorize, PLACES, type Place } from "./access.ts";
import { body } from "./gitea.ts";
import { pageHeaders, pageOf, slice } from "./paging.ts";
import { time } from "./render.ts";

const CreateHook = z.object({
  type: z.string(),
  config: z.record(z.string(), z.string()),
  events: z.array(z.string()).default([]),
  active: z.boolean().default(false),
  branch_filter: z.string().default(""),
  authorization_header: z.string().default(""),
});

/** Create, list, get and delete of webhooks, the same in both flavours. */
export function hookRoutes(world: World): Route[] {
  return PLACES.flatMap((place) => {
    const path = `/api/v1${place.prefix}/hooks`;
    const scope = (request: SimulatedRequest, params: Params) =>
      authorize(world, request, params, place, "owner").scope;
    const one = (request: SimulatedRequest, params: Params) => {
      const owned = scope(request, params);
      const hook = world.hooks.get(Number(params["id"]));
      if (hook === undefined || !sameScope(hook.scope, owned)) throw new RestError(404, "not found");
      return hook;
    };
    return [
      route("POST", path, (request, params) => json(201, render(addHook(world, place, request, params)))),
      route("GET", path, (request, params) => {
        const owned = scope(request, params);
        const rows = [...world.hooks.values()].filter((hook) => sameScope(hook.scope, owned));
        const page = pageOf(request);
        return json(200, slice(rows, page).map(render), pageHeaders(world.url, request, page, rows.length));
      }),
      route("GET", `${path}/:id`, (request, params) => json(200, render(one(request, params)))),
      route("DELETE", `${path}/:id`, (request, params) => {
        world.hooks.delete(one(request, params).id);
        return empty(204);
      }),
    ];
  });
}

function addHook(world: World, place: Place, request: SimulatedRequest, params: Params): Hook {
  const { scope } = authorize(world, request, params, place, "owner");
  const { type, config, ...given } = body(request, CreateHook);
  const types = world.traits.flavour === "forgejo" ? ["forgejo", "gitea", "gogs"] : ["gitea", "gogs"];
  if (!types.includes(type)) throw new RestError(422, `Invalid hook type: ${type}`);
  const { url, content_type: contentType } = config;
  if (url === undefined) throw new RestError(422, "Missing config option: url");
  if (contentType === undefined) throw new RestError(422, "Missing config option: content_type");
  if (contentType !== "json" && contentType !== "form") throw new RestError(422, "Invalid content type");
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw new RestError(422, "Invalid url");
  const hook: Hook = {
    id: world.nextId("hook"),
    type,
    active: given.active,
    branchFilter: given.branch_filter,
    events: given.events.length > 0 ? given.events : ["push"],
    url,
    contentType,
    secret: config["secret"] ?? "",
    authorizationHeader: given.authorization_header,
    system: config["is_system_webhook"] === "true",
    scope,
    createdAt: world.clock.now(),
  };
  world.hooks.set(hook.id, hook);
  return hook;
}

/** A hook as REST shows it, without its secret. */
const render = (hook: Hook): Record<string, unknown> => ({
  id: hook.id,
  type: hook.type,
  branch_filter: hook.branchFilter,
  config: { content_type: hook.contentType, url: hook.url },
  events: hook.events,
  authorization_header: hook.authorizationHeader,
  active: hook.active,
  created_at: time(hook.createdAt),
  updated_at: time(hook.createdAt),
});
