import type { ForgeScope } from "../core/types.ts";
import { ForgeError } from "./errors.ts";

/** Where a scope's routes begin, below `/api/v1`. */
export function scopePath(scope: ForgeScope): string {
  if (scope.kind === "instance") return "/api/v1/admin";
  if (scope.kind === "user") return "/api/v1/user";
  if (scope.kind === "trusted") throw new Error("several repositories have no path in common");
  if (scope.kind === "org") return `/api/v1/orgs/${segment(scope.owner)}`;
  return `/api/v1/repos/${segment(scope.owner)}/${segment(scope.repo)}`;
}

/** The registration token's older place, where an instance differs from the other scopes. */
export function oldTokenPath(scope: ForgeScope): string {
  return scope.kind === "instance"
    ? "/api/v1/admin/runners/registration-token"
    : `${scopePath(scope)}/actions/runners/registration-token`;
}

/** A link for people, kept only when it is one: what a forge says ends in a web page. */
export function webLink(url: string | null | undefined): { url?: string } {
  return url && /^https?:$/.test(URL.parse(url)?.protocol ?? "") ? { url } : {};
}

/** `owner/name` out of a URL below `/repos/` of the API, or of a page of the forge. */
export function repositoryIn(url: string | undefined, after: string): string | undefined {
  const path = url === undefined ? undefined : URL.parse(url)?.pathname;
  if (path?.startsWith(after) !== true) return undefined;
  const [owner, name] = path.slice(after.length).split("/");
  return owner !== undefined && name !== undefined && owner !== "" && name !== "" ? `${owner}/${name}` : undefined;
}

/** One part of a path; names that no forge has are refused. */
export function segment(name: string): string {
  if (/^[A-Za-z0-9._-]{1,255}$/.test(name) && !/^\.+$/.test(name)) return name;
  throw new ForgeError("FORGE_URL", "the scope's owner or repository is not a name that a forge can have", {
    hint: "Names have letters, digits, `.`, `_` and `-`, without slashes.",
  });
}
