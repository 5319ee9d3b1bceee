import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createApi } from "../../../src/api/app.ts";
import { EXIT } from "../../../src/cli/command.ts";
import { standIn } from "../../support/stand-in-orchestrator.ts";

const read = (name: string) => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), "utf8");

describe("docs/cli.md", () => {
  it("lists the exit codes that there are", () => {
    const codes = [...read("cli.md").matchAll(/^\| (\d) \| /gm)].map(([, code]) => Number(code));
    expect(codes).toEqual(Object.values(EXIT));
  });
});

describe("docs/api.md", () => {
  it("names every route that there is, and no other", () => {
    const api = createApi(
      {
        orchestrator: standIn(),
        version: { version: "", commit: "", built: "" },
        metrics: () => Promise.resolve({ contentType: "", body: "" }),
        webhook: () => ({ status: 202, message: "" }),
        drain: () => undefined,
      },
      "socket",
    );
    const routes = api.routes
      .map(({ path }) => path.replaceAll(/:(\w+)/g, "{$1}"))
      .filter((path) => !path.endsWith("*"));
    const named = [...read("api.md").matchAll(/`(?:[A-Z]+ )?(\/(?:api|health|metrics|webhooks)[^`?]*)(?:\?[^`]*)?`/g)];
    const documented = new Set(named.map(([, path]) => path));
    // Without its name, `/api/v1/pools/` is only a refusal.
    expect(documented).toEqual(new Set(routes.filter((path) => path !== "/api/v1/pools/")));
  });
});
