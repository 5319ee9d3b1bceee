import { describe, expect, it } from "vitest";
import type { ForgeScope } from "../../../src/core/types.ts";
import { json, type RegisterBehaviour, serveRegister, startStrictForge } from "../../support/strict-forge.ts";
import description from "./fixtures/gitea-routes.json" with { type: "json" };
import { closeLater, never, targetAt } from "./harness.ts";

const described: Record<string, string[]> = description.routes;

/** Served, but missing from the description. */
const UNDESCRIBED_ROUTES = [/^PATCH .*\/actions\/runners\/\{runner_id\}$/];
/** Every list takes them; that of the runners does not say so. */
const UNDESCRIBED_QUERY = ["page", "limit"];

const SCOPES: [string, ForgeScope][] = [
  ["/admin", { kind: "instance" }],
  ["/orgs/acme", { kind: "org", owner: "acme" }],
  ["/user", { kind: "user" }],
  ["/repos/acme/app", { kind: "repo", owner: "acme", repo: "app" }],
];

/** `GET /api/v1/orgs/acme/actions/runners/7` as the description writes it. */
function template(method: string, path: string): string {
  const below = path
    .replace("/api/v1", "")
    .replace("/orgs/acme", "/orgs/{org}")
    .replace("/repos/acme/app", "/repos/{owner}/{repo}")
    .replace(/\/runners\/\d+$/, "/runners/{runner_id}");
  return `${method} ${below}`;
}

describe("every request at Gitea is one that it describes", () => {
  it.each(SCOPES)("%s", async (base, scope) => {
    const forge = closeLater(await startStrictForge({ version: "1.26.1" }));
    const behaviour: RegisterBehaviour = {
      accepted: new Set(["registration-token"]),
      ephemeralEcho: true,
      registered: [],
    };
    serveRegister(forge, behaviour);
    forge.on(`GET /api/v1${base}/actions/jobs`, (_, response) => json(response, 200, { jobs: [], total_count: 0 }));
    forge.on(`GET /api/v1${base}/actions/runners`, (_, response) =>
      json(response, 200, { runners: [], total_count: 0 }),
    );
    forge.on(`PATCH /api/v1${base}/actions/runners/7`, (_, response) => json(response, 200, {}));
    forge.on(`DELETE /api/v1${base}/actions/runners/7`, (_, response) => response.writeHead(204).end());
    const oldPlace = base === "/admin" ? "/admin/runners" : `${base}/actions/runners`;
    forge.on(`GET /api/v1${oldPlace}/registration-token`, (_, response) =>
      json(response, 200, { token: "registration-token" }),
    );
    const target = targetAt(forge.url, { scope });
    await target.jobs([], never);
    await target.runners(never);
    await target.register({ name: "vm", labels: [] }, never);
    await target.disableRunner(7, never);
    await target.deleteRunner(7, never);

    const rest = forge.seen.filter(({ path }) => path.startsWith("/api/v1/"));
    expect(new Set(rest.map(({ method, path }) => `${method} ${path}`)).size).toBe(7);
    for (const { method, path, query } of rest) {
      const route = template(method, path);
      if (UNDESCRIBED_ROUTES.some((pattern) => pattern.test(route))) continue;
      expect(described, "routes").toHaveProperty([route]);
      const known = [...(described[route] ?? []), ...UNDESCRIBED_QUERY];
      expect(known, route).toEqual(expect.arrayContaining([...query.keys()]));
    }
  });
});
