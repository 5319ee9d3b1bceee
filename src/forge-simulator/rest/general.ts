import { json } from "../http/message.ts";
import { type Route, route } from "../http/router.ts";
import { registrationToken } from "../runners.ts";
import type { World } from "../world.ts";
import { authorize, PLACES, type Place } from "./access.ts";

/** Version and registration tokens, which both flavours have. */
export function generalRoutes(world: World): Route[] {
  const { traits } = world;
  const version = { version: traits.version };
  const routes = [route("GET", "/api/v1/version", () => json(200, version))];
  if (traits.flavour === "forgejo") routes.push(route("GET", "/api/forgejo/v1/version", () => json(200, version)));

  const token = (method: string, place: Place, path: string) =>
    route(method, path, (request, params) => {
      const { scope } = authorize(world, request, params, place, "owner");
      return json(200, { token: registrationToken(world, scope) });
    });
  for (const place of PLACES) {
    const path = `/api/v1${place.prefix}/actions/runners/registration-token`;
    if (traits.postsRegistrationToken) routes.push(token("POST", place, path));
    // The instance's token had a path of its own while it was read with GET.
    const older = place.kind === "instance" ? "/api/v1/admin/runners/registration-token" : path;
    if (traits.getsRegistrationToken) routes.push(token("GET", place, older));
  }
  return routes;
}
