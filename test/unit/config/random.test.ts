import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { loadConfig } from "../../../src/config/load.ts";
import { ConfigError, renderProblem } from "../../../src/config/problems.ts";
import { workspace } from "./workspace.ts";

const KEYS = [
  "server address metricsAddress logLevel gitea forge instanceURL apiToken apiTokenFile runnerScope runnerOwner runnerRepo",
  "pools name maxRunners minRunners minIdle driver engine runner labels image qemu firecracker memSizeMib vcpuCount kernelPath",
  "metadata user-data limits boot job engine lifetime network subnet dns guest env caFiles webhook secretFile shutdown __proto__ <<",
].flatMap((line) => line.split(" "));
const VALUES = [
  "https://g",
  "org",
  "repo",
  "qemu",
  "fake",
  "15m",
  "1h",
  "10.0.0.0/24",
  ":80",
  "${HOME}",
  "$X",
  "$$",
  "",
  "a:docker://b",
  "~",
  "./token",
];

const leaf = fc.oneof(
  fc.constantFrom(...VALUES),
  fc.string(),
  fc.integer({ min: -5, max: 20_000 }),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
);
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    leaf,
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.constantFrom(...KEYS), fc.string()), tie("tree"), { maxKeys: 8 }),
  ),
}));
/** Close to a good file, so that the rules are reached as well. */
const nearlyGood = fc.record(
  {
    gitea: fc.record(
      { instanceURL: fc.constant("https://g"), apiToken: leaf, runnerScope: leaf, runnerOwner: leaf, runnerRepo: leaf },
      { requiredKeys: [] },
    ),
    pools: fc.array(
      fc.record(
        {
          name: fc.constantFrom("a", "b", 1),
          driver: leaf,
          minRunners: leaf,
          maxRunners: leaf,
          qemu: tree,
          forge: tree,
          runner: fc.record({ labels: fc.array(leaf), image: leaf }),
          limits: tree,
        },
        { requiredKeys: ["name"] },
      ),
      { maxLength: 3 },
    ),
    server: tree,
    limits: tree,
  },
  { requiredKeys: [] },
);

/** Loads a file with this content: a ConfigError with sound problems, or settings. Everything else fails the test. */
function check(directory: string, content: string | Uint8Array): void {
  const file = join(directory, "c.yaml");
  writeFileSync(file, content);
  try {
    expect(loadConfig(file, { HOME: "home" }).settings.pools.length).toBeGreaterThan(0);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
    for (const problem of [...error.problems, ...error.warnings]) {
      expect(problem.message).not.toMatch(/undefined|\[object/);
      expect(problem.line ?? 1).toBeGreaterThan(0);
      expect(renderProblem(problem)).toMatch(/^[^\n\r]{1,2000}$/u);
    }
  }
}

describe("the loader answers with settings or a ConfigError", () => {
  it("for any bytes", () => {
    const directory = workspace();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => check(directory, bytes)),
      { numRuns: 200 },
    );
  });
  it("for any text of YAML's characters", () => {
    const directory = workspace();
    const text = fc.array(
      fc.constantFrom(..."{}[]:,-?&*!|>'\"%@`# \n\tab$<~".split(""), "pools:", "gitea:", "\n  - "),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(text, (parts) => check(directory, parts.join(""))),
      { numRuns: 300 },
    );
  });
  it("for any tree", () => {
    const directory = workspace();
    fc.assert(
      fc.property(tree, (value) => check(directory, stringify(value))),
      { numRuns: 200 },
    );
  });
  it("for files that are nearly good", () => {
    const directory = workspace();
    fc.assert(
      fc.property(nearlyGood, (value) => check(directory, stringify(value))),
      { numRuns: 300 },
    );
  });
});
