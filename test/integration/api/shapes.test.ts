import { describe, expect, it } from "vitest";
import type { Runner } from "../../../src/core/types.ts";
import type { Orchestrator } from "../../../src/orchestrator/port.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { standIn } from "../../support/stand-in-orchestrator.ts";
import { after, booting, busy, ending, fresh, poolView, ready, WALL } from "../../unit/core/build.ts";
import { type Ask, depsOf, json, problemOf, serveApi } from "./world.ts";

async function asking(over: Partial<Orchestrator>, use: (ask: Ask, told: string[]) => Promise<void>): Promise<void> {
  using directory = temporaryDirectory();
  const orchestrator = standIn(over);
  await using api = await serveApi(directory.path, depsOf(orchestrator));
  await use(api.socket, orchestrator.told);
}

const pools = () => [poolView({ name: "b" }), poolView({ name: "a", maxRunners: 5, minRunners: 1 })];
const get = async (ask: Ask, path: string) => json(await ask("GET", path)) as Record<string, unknown>;
const only = (value: object, keys: string[]) =>
  Object.fromEntries(Object.entries(value).filter(([key]) => keys.includes(key)));

describe("the original's answers", () => {
  const holder = after(ready(1), [{ kind: "assigned", job: { taskId: 7 } }]);
  const runners = () => [holder, ready(2), booting(3), fresh(4), ending(ready(5)), ready(6, { pool: "b", id: "b-x" })];

  it("lists pools with its six fields", () =>
    asking({ pools, runners }, async (ask) => {
      const list = (await get(ask, "/api/v1/pools"))["pools"] as object[];
      const keys = ["name", "minRunners", "maxRunners", "currentRunners", "idleRunners", "busyRunners"];
      expect(list.map((each) => Object.keys(each).slice(0, 6))).toEqual([keys, keys]);
      expect(list.map((each) => only(each, keys))).toEqual([
        { name: "a", minRunners: 1, maxRunners: 5, currentRunners: 5, idleRunners: 1, busyRunners: 1 },
        expect.objectContaining({ name: "b", currentRunners: 1, idleRunners: 1, busyRunners: 0 }),
      ]);
    }));

  it("shows a pool with its runners, and the words of its refusals", () =>
    asking({ pools, runners }, async (ask) => {
      const one = await get(ask, "/api/v1/pools/a");
      const list = one["runners"] as Record<string, unknown>[];
      expect(one).toMatchObject({ name: "a", maxRunners: 5 });
      expect(list.map(({ status }) => status)).toEqual(["busy", "idle", "starting", "starting", "stopping"]);
      expect(list[0]).toEqual({
        id: busy(1).id,
        name: busy(1).name,
        status: "busy",
        vm_id: busy(1).hex,
        started_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        job_id: "7",
      });
      expect(Object.keys(list[3] ?? {}), "nothing is known yet").toEqual(["id", "name", "status"]);
      expect((await get(ask, "/api/v1/pools/a/runners"))["runners"]).toEqual(list);
      expect(await ask("GET", "/api/v1/pools/")).toEqual({ status: 400, body: "pool name is required\n" });
      expect(await ask("GET", "/api/v1/pools/none")).toEqual({ status: 404, body: "pool not found\n" });
      expect(await ask("GET", "/api/v1/pools/none/runners")).toEqual({ status: 404, body: "pool not found\n" });
    }));

  it("lists runners beginning with its four fields", () =>
    asking({ pools, runners }, async (ask) => {
      const list = (await get(ask, "/api/v1/runners"))["runners"] as object[];
      expect(list).toHaveLength(6);
      for (const each of list) expect(Object.keys(each).slice(0, 4)).toEqual(["pool", "id", "name", "status"]);
    }));

  it("accepts any method where the original did", () =>
    asking({ pools }, async (ask) => {
      for (const path of ["/health", "/healthz", "/api/v1/pools", "/api/v1/pools/a", "/api/v1/runners"]) {
        for (const method of ["POST", "PUT", "DELETE"]) expect((await ask(method, path)).status).toBe(200);
      }
    }));

  it("gives the metrics on every path of their listener and on /metrics of the API", async () => {
    using directory = temporaryDirectory();
    await using api = await serveApi(directory.path, depsOf(standIn()));
    for (const [ask, path] of [
      [api.metrics, "/"],
      [api.metrics, "/metrics"],
      [api.metrics, "/x/y"],
      [api.tcp, "/metrics"],
    ] as const) {
      expect(await ask("GET", path)).toEqual({ status: 200, body: "up 1\n" });
    }
  });
});

describe("health", () => {
  const frozen = () => [
    { key: "https://git.test#instance", url: "https://git.test", health: "frozen" as const, reason: "no answer" },
  ];

  it("is healthy for a watchdog while the program works, and tells more when asked", () =>
    asking({ pools, targets: frozen }, async (ask) => {
      expect(await ask("GET", "/health")).toEqual({ status: 200, body: '{"status":"healthy"}' });
      expect(await get(ask, "/healthz?verbose")).toMatchObject({
        status: "degraded",
        problems: ["forge https://git.test#instance: no answer"],
        forges: frozen(),
        pools: [
          { name: "b", usable: true },
          { name: "a", usable: true },
        ],
      });
    }));

  it("is unhealthy until the first plan has run", () =>
    asking({ started: () => false }, async (ask) => {
      expect(await ask("GET", "/health")).toEqual({ status: 503, body: '{"status":"unhealthy"}' });
      expect(await get(ask, "/health?verbose=1")).toMatchObject({ problems: ["the first plan has not run yet"] });
    }));
});

describe("one runner", () => {
  const closedRunner: Runner = after(ending(busy(9)), [{ kind: "sandbox-gone" }]);
  const over: Partial<Orchestrator> = {
    pools,
    runners: () => [busy(1)],
    history: (limit) => [{ runner: closedRunner, closedAt: WALL }].slice(0, limit),
    closed: (hex) => (hex === closedRunner.hex ? { runner: closedRunner, closedAt: WALL } : undefined),
    story: (hex) => (hex === closedRunner.hex ? [{ at: WALL, change: "created" }] : []),
    logs: (id) => Promise.resolve(id === closedRunner.id ? { engine: "kept", console: "" } : undefined),
  };

  it("is found by id, by name and by hex", () =>
    asking(over, async (ask) => {
      const { id, name, hex } = busy(1);
      for (const word of [id, name, hex]) expect((await get(ask, `/api/v1/runners/${word}`))["id"]).toBe(id);
      expect(await get(ask, `/api/v1/runners/${id}`)).toMatchObject({
        status: "busy",
        phase: "assigned",
        forge: busy(1).target,
      });
    }));

  it("is shown from the history when it is gone, with its log", () =>
    asking(over, async (ask) => {
      const shown = await get(ask, `/api/v1/runners/${closedRunner.hex}`);
      expect(shown).toMatchObject({ id: closedRunner.id, status: "stopped", closed_at: new Date(WALL).toISOString() });
      expect((await get(ask, "/api/v1/history"))["runners"]).toEqual([shown]);
      expect(await get(ask, `/api/v1/runners/${closedRunner.name}/logs`)).toEqual({ engine: "kept", console: "" });
      expect(await get(ask, `/api/v1/runners/${closedRunner.name}/events`)).toEqual({
        id: closedRunner.id,
        events: [{ at: new Date(WALL).toISOString(), change: "created" }],
      });
      expect(await get(ask, `/api/v1/runners/${busy(1).id}/events`)).toEqual({ id: busy(1).id, events: [] });
    }));

  it("is unknown with a hint", () =>
    asking(over, async (ask) => {
      for (const [method, path] of [
        ["GET", "/api/v1/runners/x"],
        ["GET", "/api/v1/runners/x/logs"],
        ["GET", "/api/v1/runners/x/events"],
        ["GET", `/api/v1/runners/other-${closedRunner.hex}`],
        ["DELETE", "/api/v1/runners/x"],
      ] as const) {
        const answer = await ask(method, path);
        expect([answer.status, problemOf(answer).code]).toEqual([404, "RUNNER_UNKNOWN"]);
      }
      expect((await ask("DELETE", `/api/v1/runners/${closedRunner.id}`)).status, "what is gone cannot end").toBe(404);
    }));

  it("is ended, a busy one by force only", () =>
    asking({ ...over, stopRunner: (_, force) => (force ? "ending" : "busy") }, async (ask) => {
      const path = `/api/v1/runners/${busy(1).name}`;
      for (const query of ["", "?force=false", "?force=0"]) {
        const answer = await ask("DELETE", path + query);
        expect([answer.status, problemOf(answer).code]).toEqual([409, "RUNNER_BUSY"]);
        expect(problemOf(answer).hint).toContain("?force=true");
      }
      for (const query of ["?force", "?force=1", "?force=true"]) {
        const answer = await ask("DELETE", path + query);
        expect([answer.status, json(answer)]).toEqual([202, { id: busy(1).id, status: "stopping" }]);
      }
    }));
});

describe("pools", () => {
  it("are paused and resumed by name", () =>
    asking({ pools }, async (ask, told) => {
      expect(json(await ask("POST", "/api/v1/pools/a/pause"))).toEqual({ name: "a", paused: true });
      expect(json(await ask("POST", "/api/v1/pools/a/resume"))).toEqual({ name: "a", paused: false });
      const unknown = await ask("POST", "/api/v1/pools/none/pause");
      expect([unknown.status, problemOf(unknown).code]).toEqual([404, "POOL_UNKNOWN"]);
      expect(told).toEqual(["pause a", "resume a"]);
    }));
});
