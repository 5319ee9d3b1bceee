import { describe, expect, it } from "vitest";
import { eventually } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, many, type World, type WorldOptions } from "../../support/world.ts";

const IDS = ["abc123", "def456"] as const;
const [FIRST, SECOND] = IDS;
const HANDLES: WorldOptions = {
  forge: { flavour: "forgejo", version: "15.0.0+gitea-1.22.0" },
  extra: { fleet: { hosts: IDS } },
};
const CASES: [what: string, options: WorldOptions][] = [
  ["that binds runners", HANDLES],
  ["that binds none", { extra: { fleet: { hosts: IDS } } }],
];

const FAST = { poll: 1_000, script: { bootTime: 200, jobTime: 300 } };

const made = (world: World): number => world.scripted.created.length;

describe.each(CASES)("two hosts at a forge %s", (_, options) => {
  it("make one runner for each job", async () => {
    const one = await createWorld({ ...options, ...FAST, hostId: FIRST });
    const other = await createWorld({ ...options, ...FAST, hostId: SECOND, beside: one });
    const run = await one.push(many(12, ["linux"]));
    await run.finished(AbortSignal.timeout(30_000));
    expect(attemptsOf(one.forge)).toHaveLength(12);
    expect(made(one) + made(other)).toBeLessThanOrEqual(13);
    expect(made(one)).toBeGreaterThan(0);
    expect(made(other)).toBeGreaterThan(0);
    await one.cleared();
    await other.cleared();
  });

  it("take over from one that is down, after their turn", async () => {
    const one = await createWorld({ ...options, ...FAST, hostId: FIRST });
    const run = await one.push(many(6, ["linux"]));
    await eventually("some wait for the other host", () =>
      one.orchestrator.reasons().some(({ code }) => code === "other-host-first"),
    );
    await run.finished(AbortSignal.timeout(30_000));
    expect(attemptsOf(one.forge).every(({ endedBy }) => endedBy === "runner")).toBe(true);
    expect(made(one)).toBe(6);
    await one.cleared();
  });
});
