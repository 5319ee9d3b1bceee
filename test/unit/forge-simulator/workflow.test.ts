import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { decide, parseWorkflow } from "../../../src/forge-simulator/workflow.ts";

describe("parseWorkflow", () => {
  it("reads needs, labels, names, conditions and steps in all their forms", () => {
    const { name, jobs } = parseWorkflow(`
name: ci
on: { push: { branches: [main] } }
defaults: { run: { shell: bash } }
jobs:
  one: { runs-on: a, steps: [{ run: "echo x\\necho y" }] }
  two: { name: Second, runs-on: [a, b], needs: one, if: always(), steps: [{ uses: actions/checkout@v4 }] }
  three: { runs-on: { labels: [c] }, needs: [one, two], if: false, steps: [{ name: named, run: ls }] }
  four: {}
`);
    expect(name).toBe("ci");
    expect(jobs).toMatchObject([
      { key: "one", name: "one", needs: [], runsOn: ["a"], condition: undefined, stepNames: ["echo x"] },
      {
        key: "two",
        name: "Second",
        needs: ["one"],
        runsOn: ["a", "b"],
        condition: "always()",
        stepNames: ["actions/checkout@v4"],
      },
      { key: "three", name: "three", needs: ["one", "two"], runsOn: ["c"], condition: "false", stepNames: ["named"] },
      { key: "four", name: "four", needs: [], runsOn: [], condition: undefined, stepNames: [] },
    ]);
    const second = parse(jobs[1]?.workflow ?? "");
    expect(Object.keys(second)).toEqual(["name", "on", "defaults", "jobs"]);
    expect(second.jobs).toEqual({
      two: { name: "Second", "runs-on": ["a", "b"], if: "always()", steps: [{ uses: "actions/checkout@v4" }] },
    });
  });

  it("gives every runner exactly one job, unchanged but for its needs", () => {
    const job = fc.record({
      "runs-on": fc.array(fc.string(), { maxLength: 3 }),
      env: fc.dictionary(fc.string({ minLength: 1 }), fc.string()),
      steps: fc.array(fc.record({ run: fc.string() }), { minLength: 1, maxLength: 3 }),
    });
    const key = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
    fc.assert(
      fc.property(fc.dictionary(key, job, { minKeys: 1, maxKeys: 4, noNullPrototype: true }), (jobs) => {
        const parsed = parseWorkflow(stringify({ on: "push", jobs }));
        expect(parsed.jobs.map((one) => one.key)).toEqual(Object.keys(jobs));
        for (const one of parsed.jobs) expect(parse(one.workflow).jobs).toEqual({ [one.key]: jobs[one.key] });
      }),
    );
  });

  it.each([
    ["- a", "cannot be used"],
    ["jobs: { a: { needs: [b], steps: [] } }", 'job "a" needs "b"'],
    ["jobs: { a: { steps: 5 } }", "steps"],
    ["{", "it is not YAML"],
  ])("refuses %j", (text, reason) => {
    expect(() => parseWorkflow(text)).toThrow(reason);
  });
});

describe("decide", () => {
  it.each([
    { condition: undefined, needs: ["success"], all: ["success"], verdict: "run" },
    { condition: undefined, needs: ["success", "skipped"], all: ["success", "skipped"], verdict: "skip" },
    { condition: undefined, needs: [], all: [], verdict: "run" },
    { condition: "success()", needs: ["failure"], all: ["failure"], verdict: "skip" },
    { condition: "always()", needs: ["cancelled"], all: ["cancelled"], verdict: "run" },
    { condition: "${{ always() }}", needs: ["failure"], all: ["failure"], verdict: "run" },
    { condition: "failure()", needs: ["skipped"], all: ["skipped", "failure"], verdict: "run" },
    { condition: "failure()", needs: ["success"], all: ["success"], verdict: "skip" },
    { condition: "!cancelled()", needs: ["failure"], all: ["failure"], verdict: "run" },
    { condition: "!cancelled()", needs: ["cancelled"], all: ["cancelled"], verdict: "skip" },
    { condition: "cancelled()", needs: ["cancelled"], all: ["cancelled"], verdict: "run" },
    { condition: "false", needs: [], all: [], verdict: "skip" },
    { condition: "github.ref == 'refs/heads/main'", needs: ["failure"], all: ["failure"], verdict: "ask" },
  ])("$condition after $all: $verdict", ({ condition, needs, all, verdict }) => {
    expect(decide(condition, needs, all)).toBe(verdict);
  });
});
