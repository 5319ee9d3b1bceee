import type { ForgeScope } from "../core/types.ts";

/**
 * What the API token has to be allowed for what Fireteact does. The token's scope follows from the group of the route,
 * not from the feature, and the user behind the token needs the role on top. Gitea and Forgejo agree in both.
 */

export type ScopeKind = ForgeScope["kind"];

/** Which kind of access a feature takes, and what is missing without it. */
export const FEATURES = {
  queue: { access: "read", optional: false, without: "no job is seen" },
  runners: { access: "read", optional: true, without: "leftover runners are not found after a crash" },
  register: { access: "write", optional: false, without: "no runner can be registered" },
  delete: { access: "write", optional: false, without: "runners that took no job stay behind in the forge" },
  disable: { access: "write", optional: true, without: "an idle runner is only stopped by its own agent" },
} as const;
export type Feature = keyof typeof FEATURES;

/** Token category and role by scope; reading jobs of a repository takes less than the rest. */
export const SCOPES: Record<ScopeKind, { category: string; role: string; queueRole?: string }> = {
  instance: { category: "admin", role: "a site administrator" },
  org: { category: "organization", role: "an owner of the organisation" },
  user: { category: "user", role: "the user itself" },
  repo: {
    category: "repository",
    role: "an owner or administrator of the repository",
    queueRole: "anyone who may read the repository's Actions",
  },
  trusted: { category: "repository", role: "an owner or administrator of every trusted repository" },
};

export interface Right {
  /** Scope of the API token; `write:` includes `read:`. */
  token: string;
  /** Who the token's user has to be. */
  role: string;
}

export function rightFor(feature: Feature, scope: ScopeKind): Right {
  const { category, role, queueRole } = SCOPES[scope];
  return {
    token: `${FEATURES[feature].access}:${category}`,
    role: feature === "queue" ? (queueRole ?? role) : role,
  };
}

/** For hints: `a token with write:organization, made by an owner of the organisation`. */
export function rightInWords(feature: Feature, scope: ScopeKind): string {
  const { token, role } = rightFor(feature, scope);
  return `a token with ${token}, made by ${role}`;
}
