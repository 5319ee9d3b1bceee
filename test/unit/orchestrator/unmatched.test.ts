import { describe, expect, it } from "vitest";
import { createLogger } from "../../../src/base/log.ts";
import type { WaitCode, WaitReason } from "../../../src/core/plan-types.ts";
import { createUnmatchedWarner } from "../../../src/orchestrator/unmatched.ts";
import { job } from "../core/build.ts";

function warner() {
  const lines: { level: string; job?: string; jobs?: number }[] = [];
  const log = createLogger("debug", { write: (line) => lines.push(JSON.parse(line) as (typeof lines)[number]) });
  return { lines, look: createUnmatchedWarner(log) };
}

const waits = (id: number, code: WaitCode = "no-pool-matches"): WaitReason => ({
  job: job(id, { labels: ["gpu"], repository: "acme/site" }),
  code,
  detail: "no pool offers the label gpu",
});

describe("jobs that no pool matches", () => {
  it("are warned of, each once as long as it waits", () => {
    const { lines, look } = warner();
    look([waits(1), waits(2, "pool-at-max")]);
    look([waits(1), waits(2, "pool-at-max")]);
    expect(lines).toMatchObject([
      { level: "warn", job: job(1).key, repository: "acme/site", labels: ["gpu"], detail: waits(1).detail },
    ]);
    look([waits(1), waits(2)]);
    expect(lines.map((line) => line.job)).toEqual([job(1).key, job(2).key]);
  });

  it("are not warned of again when something else hid the reason for a while", () => {
    const { lines, look } = warner();
    for (const code of ["no-pool-matches", "forge-frozen", "no-pool-matches"] as const) look([waits(1, code)]);
    expect(lines).toHaveLength(1);
  });

  it("are forgotten when they wait no more", () => {
    const { lines, look } = warner();
    for (const reasons of [[waits(1)], [], [waits(1)]]) look(reasons);
    expect(lines).toHaveLength(2);
  });

  it("fill no log, however many there are", () => {
    const { lines, look } = warner();
    const all = Array.from({ length: 5_000 }, (_, index) => waits(index));
    for (let round = 0; round < 3; round++) look(all);
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toMatchObject({ level: "warn", jobs: 4_980 });
  });
});
