import { describe, expect, it } from "vitest";
import type { ForgeView, PlanMemory } from "../../../src/core/plan-types.ts";
import type { Job } from "../../../src/core/types.ts";
import { after, busy, forge, fresh, hex, input, type PlanRow, row, running, steps, T } from "./build.ts";

const frozen = (over: Partial<ForgeView> = {}) => ({ [T]: forge({ health: "frozen", reason: "HTTP 502", ...over }) });
const suspecting = (subject: string, read: number): PlanMemory => ({
  ...input().memory,
  suspects: { [subject]: read },
});

describe("what no record knows", () => {
  const strays = (read: number, state: "running" | "exited" = "running") => ({
    sandboxes: [{ driver: "fake" as const, hex: hex(9), pool: "a", state }],
    read,
    rows: [],
  });
  const strayRow = { sandboxes: [], read: 1, rows: [row(9)] };
  const rowsRead = (count: number, jobs: Job[] = []) => ({ [T]: forge({ rows: [row(9)], rowsRead: count, jobs }) });

  it.each<PlanRow>([
    { what: "a sandbox seen once stays", given: { strays: strays(1) }, expected: [] },
    {
      what: "a sandbox seen by one read stays, however often it is planned",
      given: { strays: strays(1), memory: suspecting(`${hex(9)} sandbox`, 1) },
      expected: [],
    },
    {
      what: "a sandbox seen twice goes",
      given: { strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1) },
      expected: ["sweep-sandbox fake 9"],
    },
    {
      what: "a sandbox that has a record after all stays",
      given: { strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1), runners: [busy(9)] },
      expected: [],
    },
    {
      what: "a sandbox whose job the forge still shows stays",
      given: { strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1), forges: rowsRead(1, [running(7, 9)]) },
      expected: [],
    },
    {
      what: "one that ended goes, whatever the forge still shows",
      given: {
        strays: strays(2, "exited"),
        memory: suspecting(`${hex(9)} sandbox`, 1),
        forges: rowsRead(1, [running(7, 9)]),
      },
      expected: ["sweep-sandbox fake 9"],
    },
    {
      what: "a sandbox stays while a forge is in trouble, which may know its job",
      given: { strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1), forges: frozen() },
      expected: [],
    },
    {
      what: "a sandbox stays while something runs and no rows tell on which runner",
      given: {
        strays: strays(2),
        memory: suspecting(`${hex(9)} sandbox`, 1),
        forges: { [T]: forge({ jobs: [running(7, 9)], rowsRead: 0 }) },
      },
      expected: [],
    },
    {
      what: "a sandbox stays while neither the queue nor rows were read, where a job may run of which nobody hears",
      given: {
        strays: strays(2),
        memory: suspecting(`${hex(9)} sandbox`, 1),
        forges: { [T]: forge({ listsQueue: false, rowsRead: 0 }) },
      },
      expected: [],
    },
    { what: "a row seen once stays", given: { strays: strayRow, forges: rowsRead(5) }, expected: [] },
    {
      what: "a row seen twice goes",
      given: { strays: strayRow, forges: rowsRead(6), memory: suspecting(`${T}#9 row`, 5) },
      expected: ["sweep-row 9"],
    },
    {
      what: "a row whose name may still be answered for stays",
      given: {
        strays: strayRow,
        forges: rowsRead(6),
        memory: suspecting(`${T}#9 row`, 5),
        runners: [after(fresh(9), [{ kind: "register-asked" }, { kind: "booted" }])],
        inFlight: new Set([`${fresh(9).id}:forge`]),
      },
      expected: [],
    },
    {
      what: "a second row of one name goes",
      given: {
        strays: { ...strayRow, rows: [row(8, { name: fresh(9).name })] },
        forges: { [T]: forge({ rows: [row(9), row(8)], rowsRead: 6 }) },
        memory: suspecting(`${T}#8 row`, 5),
        runners: [busy(9)],
      },
      expected: ["sweep-row 8"],
    },
    {
      what: "a row with a running job stays",
      given: { strays: strayRow, forges: rowsRead(6, [running(7, 9)]), memory: suspecting(`${T}#9 row`, 5) },
      expected: [],
    },
    {
      what: "a row stays while a sandbox of its name runs, whose engine may take a job",
      given: {
        strays: { ...strays(1), rows: [row(9)] },
        forges: rowsRead(6),
        memory: suspecting(`${T}#9 row`, 5),
      },
      expected: [],
    },
    {
      what: "a row goes beside a sandbox of its name that ended",
      given: {
        strays: { ...strays(1, "exited"), rows: [row(9)] },
        forges: rowsRead(6),
        memory: suspecting(`${T}#9 row`, 5),
      },
      expected: ["sweep-row 9"],
    },
    {
      what: "a row stays while its forge is in trouble",
      given: { strays: strayRow, forges: frozen({ rows: [row(9)], rowsRead: 6 }), memory: suspecting(`${T}#9 row`, 5) },
      expected: [],
    },
    {
      what: "is swept in drain mode too",
      given: { mode: "drain", strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1) },
      expected: ["sweep-sandbox fake 9"],
    },
    {
      what: "is left alone in detach mode",
      given: { mode: "detach", strays: strays(2), memory: suspecting(`${hex(9)} sandbox`, 1) },
      expected: [],
    },
  ])("$what", ({ given, expected }) => {
    expect(steps(given)).toEqual(expected);
  });
});
