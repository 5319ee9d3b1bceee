import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  evaluateCondition,
  interpolate,
  type JobStatus,
  resolve,
  type Scope,
} from "../../../../src/agent/engines/shell/expressions.ts";
import { readWorkflow, stepTitle } from "../../../../src/agent/engines/shell/workflow.ts";

const scope = (status: JobStatus = "success"): Scope => ({
  contexts: {
    github: { ref: "refs/heads/main", event: { commits: [{ id: 1 }, { id: 2 }], count: 3 } },
    env: { A: "a", EMPTY: "" },
    secrets: { KEY: "k" },
    steps: { one: { outputs: { x: "1" }, outcome: "failure" } },
    matrix: {},
  },
  status,
  workspace: "/nonexistent",
});

describe("texts with expressions", () => {
  it.each([
    ["plain", "plain"],
    ["${{ env.A }}-${{ env.B }}-${{ env.EMPTY }}", "a--"],
    ["${{ format('{0} }} {1}', 'x', env.A) }}", "x } a"],
    ["${{ 'it''s' }}", "it's"],
    ["${{ github.event.commits[1].id }} ${{ github.event['count'] }}", "2 3"],
    ["${{ join(github.event.commits.*.id, '+') }}", "1+2"],
    ["${{ secrets.key }}", "k"],
    ["${{ matrix.none.deeper }}", ""],
    ["${{ 1 == 1.0 && 'same' || 'other' }}", "same"],
    ["${{ startsWith(github.ref, 'refs/HEADS/') }}", "true"],
    ["$ {{ no }}", "$ {{ no }}"],
  ])("%s", (text, wanted) => expect(interpolate(text, scope())).toBe(wanted));

  it.each([
    ["${{ env.A", /no }} ends/],
    ["${{ nonsense.x }}", /nonsense/],
    ["${{ unknown() }}", /unknown/],
    ["${{ fromJSON('{') }}", /fromJSON/],
    ["${{ }}", /\{\{/],
  ])("%s is refused with its text", (text, message) => expect(() => interpolate(text, scope())).toThrow(message));

  it("keep their type when they are nothing but an expression", () => {
    expect(resolve("${{ fromJSON('true') }}", scope())).toBe(true);
    expect(resolve("${{ github.event }}", scope())).toEqual({ commits: [{ id: 1 }, { id: 2 }], count: 3 });
    expect(resolve({ a: ["${{ env.A }}x", 1] }, scope())).toEqual({ a: ["ax", 1] });
  });

  it("hash files of the workspace, and nothing outside", () => {
    const workspace = mkdtempSync(join(tmpdir(), "hash-"));
    onTestFinished(() => rmSync(workspace, { recursive: true }));
    const empty = { ...scope(), workspace };
    expect(interpolate("${{ hashFiles('*.lock') }}", empty)).toBe("");
    writeFileSync(join(workspace, "a.lock"), "one");
    const first = interpolate("${{ hashFiles('**/*.lock') }}", empty);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    writeFileSync(join(workspace, "a.lock"), "two");
    expect(interpolate("${{ hashFiles('*.lock') }}", empty)).not.toBe(first);
    expect(interpolate("${{ hashFiles('../../../etc/passwd') }}", empty)).toBe("");
  });
});

describe("conditions", () => {
  it.each([
    [undefined, "success", true],
    [undefined, "failure", false],
    ["", "success", true],
    [true, "success", true],
    [true, "failure", false],
    [false, "success", false],
    ["env.A == 'a'", "success", true],
    ["env.A == 'a'", "failure", false],
    ["${{ env.A == 'b' }}", "success", false],
    ["failure()", "failure", true],
    ["failure()", "success", false],
    ["always()", "cancelled", true],
    ["${{ always() }}", "failure", true],
    ["cancelled()", "cancelled", true],
    ["success() || failure()", "failure", true],
    ["!cancelled()", "failure", true],
    ["env.A == 'always()'", "failure", false],
    ["Always()", "failure", true],
    ["env.EMPTY", "success", false],
    ["steps.one.outcome == 'failure' && always()", "failure", true],
  ] as const)("%s while %s is %s", (condition, status, wanted) => {
    expect(evaluateCondition(condition, scope(status))).toBe(wanted);
  });
});

describe("a workflow", () => {
  const read = (yaml: string) => readWorkflow(Buffer.from(yaml));
  const job = (text: string): string => `jobs: { main: { runs-on: x, ${text} } }`;

  it("is one job with its steps", () => {
    const workflow = read(
      "env: { A: 1 }\ndefaults: { run: { shell: sh } }\njobs: { main: { runs-on: [a], steps: [{ run: x }, { uses: actions/checkout@v4 }] } }",
    );
    expect(workflow).toMatchObject({ id: "main", shell: "sh", env: { A: 1 }, matrix: {} });
    expect(workflow.steps.map(stepTitle)).toEqual(['step 1 "x"', 'step 2 "actions/checkout@v4"']);
    expect(read(job("steps: [], strategy: { matrix: { os: [linux], n: [1] } }")).matrix).toEqual({ os: "linux", n: 1 });
  });

  it.each([
    ["{", /no YAML/],
    ["jobs: {}", /0 jobs/],
    ["jobs: { a: { steps: [] }, b: { steps: [] } }", /2 jobs/],
    ["name: x", /not valid: jobs/],
    [job("steps: [{ run: 1 }]"), /not valid: jobs\.main\.steps\.0\.run/],
    [job("steps: [{ name: N }]"), /step 1 "N" has neither run nor uses/],
    [job("steps: [{ run: x, uses: actions/checkout@v4 }]"), /both/],
    [job("steps: [{ uses: docker://x }]"), /uses docker:\/\/x/],
    [job("steps: [{ uses: ./local }]"), /uses \.\/local/],
    [job("steps: [{ uses: evil/actions/checkout@v4 }]"), /uses evil/],
    [job("steps: [], services: { db: { image: x } }"), /services/],
    [job("uses: ./.github/workflows/x.yaml"), /calls another workflow/],
    [job("steps: [], strategy: { matrix: { os: [a, b] } }"), /matrix/],
    [`a: &a [${"x,".repeat(50)}]\nb: &b [${"*a,".repeat(50)}]\nc: [${"*b,".repeat(50)}]\njobs: {}`, /no YAML/],
  ])("%s is refused", (yaml, message) => expect(() => read(yaml)).toThrow(message));
});
