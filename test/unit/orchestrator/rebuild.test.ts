import { describe, expect, it } from "vitest";
import { rebuild, type Stray } from "../../../src/orchestrator/rebuild.ts";
import { hex, limits, NOW, poolView, row, T, WALL } from "../core/build.ts";

const stray = (over: Partial<Stray> = {}): Stray => ({
  driver: "fake",
  hex: hex(9),
  pool: "a",
  runnerId: `a-${hex(9)}`,
  state: "running",
  startedAt: NOW - 60_000,
  ...over,
});
const time = { now: NOW, at: WALL };
const rows = [row(8), row(9, { uuid: "uuid-9" })];

describe("a record that was lost", () => {
  it("is made again from the sandbox, its row and its pool", () => {
    expect(rebuild(stray({ address: "10.0.0.9" }), rows, [poolView()], time)).toEqual({
      hex: hex(9),
      id: `a-${hex(9)}`,
      name: `ft-${hex(9)}`,
      pool: "a",
      driver: "fake",
      target: T,
      labels: ["linux"],
      memoryMib: 512,
      vcpus: 1,
      diskMib: 0,
      limits: limits(),
      since: NOW - 60_000,
      at: WALL - 60_000,
      registration: { phase: "active", row: 9, uuid: "uuid-9", since: NOW },
      sandbox: { phase: "running", since: NOW },
      agent: { phase: "silent" },
      credentials: "given",
      given: { since: NOW },
      secretLost: true,
      timeline: { started: WALL - 60_000 },
      address: "10.0.0.9",
    });
  });

  it.each([
    { what: "ended", over: { state: "exited" as const } },
    { what: "was half made", over: { state: "partial" as const } },
    { what: "has no row", over: { hex: hex(7) } },
    { what: "belongs to a pool that is gone", over: { pool: "b" } },
  ])("is not made again when the sandbox $what", ({ over }) => {
    expect(rebuild(stray(over), rows, [poolView()], time)).toBeUndefined();
  });
});
