import { statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FireteactError } from "../../../src/base/errors.ts";
import { openSecret } from "../../../src/config/secret.ts";
import { temporaryDirectory } from "../../support/orchestrator.ts";
import { standIn } from "../../support/stand-in-orchestrator.ts";
import { poolView, ready } from "../../unit/core/build.ts";
import { type Ask, depsOf, problemOf, serveApi } from "./world.ts";

const runner = ready(1);
const OPEN = [
  "/health",
  "/healthz",
  "/api/v1/pools",
  "/api/v1/pools/a",
  "/api/v1/pools/a/runners",
  "/api/v1/runners",
  `/api/v1/runners/${runner.id}`,
  "/metrics",
];
const GUARDED: [string, string][] = [
  ["GET", "/api/v1/status"],
  ["GET", "/api/v1/jobs"],
  ["GET", "/api/v1/history"],
  ["GET", `/api/v1/runners/${runner.id}/logs`],
  ["GET", `/api/v1/runners/${runner.id}/events`],
  ["DELETE", `/api/v1/runners/${runner.id}`],
  ["POST", "/api/v1/pools/a/pause"],
  ["POST", "/api/v1/pools/a/resume"],
  ["POST", "/api/v1/drain"],
];
const bearer = (token: string) => ({ headers: { Authorization: `Bearer ${token}` } });

function world() {
  const directory = temporaryDirectory();
  const orchestrator = standIn({ pools: () => [poolView({ name: "a" })], runners: () => [runner] });
  let drained = 0;
  const failures: string[] = [];
  const deps = depsOf(orchestrator, {
    drain: () => void drained++,
    failed: (error, route) => failures.push(`${route}: ${(error as Error).message}`),
  });
  return { directory, orchestrator, deps, failures, drained: () => drained };
}

describe("who may do what", () => {
  const { directory, orchestrator, deps, failures, drained } = world();
  const tokenFile = join(directory.path, "token");
  let open: Awaited<ReturnType<typeof serveApi>>;
  let guarded: Awaited<ReturnType<typeof serveApi>>;
  beforeAll(async () => {
    writeFileSync(tokenFile, "right-token\n", { mode: 0o600 });
    open = await serveApi(join(directory.path, "open"), deps);
    const token = () => openSecret({ kind: "file", path: tokenFile }).read();
    guarded = await serveApi(join(directory.path, "guarded"), { ...deps, token });
  });
  afterAll(async () => {
    await open[Symbol.asyncDispose]();
    await guarded[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  it.each(OPEN)("everyone reads %s", async (path) => {
    for (const ask of [open.socket, open.tcp, guarded.socket, guarded.tcp]) {
      expect((await ask("GET", path)).status).toBe(200);
    }
  });

  it.each(GUARDED)("%s %s is for the socket and for the token", async (method, path) => {
    const told = orchestrator.told.length + drained();
    const refusals: [Ask, Parameters<Ask>[2], number, string][] = [
      [open.tcp, {}, 403, "TOKEN_NOT_CONFIGURED"],
      [open.tcp, bearer("right-token"), 403, "TOKEN_NOT_CONFIGURED"],
      [guarded.tcp, {}, 401, "TOKEN_WRONG"],
      [guarded.tcp, bearer("wrong-token"), 401, "TOKEN_WRONG"],
      [guarded.tcp, bearer("right-toke"), 401, "TOKEN_WRONG"],
      [guarded.tcp, { headers: { Authorization: "Basic right-token" } }, 401, "TOKEN_WRONG"],
    ];
    for (const [ask, more, status, code] of refusals) {
      const answer = await ask(method, path, more);
      expect([answer.status, problemOf(answer).code]).toEqual([status, code]);
      expect(problemOf(answer).hint).toBeTruthy();
      expect(answer.body).not.toContain("right-token");
    }
    expect(orchestrator.told.length + drained(), "nothing was done").toBe(told);
    // The stand-in has no logs: the runner is known, its log is empty.
    for (const answer of [await guarded.tcp(method, path, bearer("right-token")), await open.socket(method, path)]) {
      expect(answer.status).toBeLessThan(300);
    }
  });

  it("names jobs, forges and causes of failures to the socket and to the token only", async () => {
    const path = `/api/v1/runners/${runner.id}`;
    const all = [await guarded.socket("GET", path), await guarded.tcp("GET", path, bearer("right-token"))];
    const less = [
      await open.tcp("GET", path),
      await guarded.tcp("GET", path),
      await guarded.tcp("GET", path, bearer("x")),
    ];
    for (const answer of all) expect(answer.body).toContain(runner.target);
    for (const answer of [...less, await open.tcp("GET", "/api/v1/runners")]) {
      expect(answer.status).toBe(200);
      expect(answer.body).not.toContain(runner.target);
    }
  });

  it("takes a new token as soon as the file has it, and lets nobody in without the file", async () => {
    writeFileSync(tokenFile, "newer-token", { mode: 0o600 });
    expect((await guarded.tcp("GET", "/api/v1/status", bearer("right-token"))).status).toBe(401);
    expect((await guarded.tcp("GET", "/api/v1/status", bearer("newer-token"))).status).toBe(200);
    writeFileSync(tokenFile, "", { mode: 0o600 });
    const answer = await guarded.tcp("GET", "/api/v1/status", bearer(""));
    expect(answer.status).toBeGreaterThanOrEqual(400);
    const empty = await guarded.tcp("GET", "/api/v1/status", bearer("newer-token"));
    expect(empty.status).toBe(500);
    expect(empty.body, "no path of this host goes out").not.toContain(directory.path);
    expect(failures.at(-1)).toContain(tokenFile);
    writeFileSync(tokenFile, "right-token", { mode: 0o600 });
  });

  it("opens the socket to its owner only", () => {
    expect(statSync(join(directory.path, "open", "api.sock")).mode & 0o777).toBe(0o600);
  });

  it("has no webhook route where no secret is configured", async () => {
    expect((await open.tcp("POST", "/webhooks/forge", { body: "{}" })).status).toBe(404);
  });
});

describe("rough requests", () => {
  const directory = temporaryDirectory();
  let boom: unknown;
  const orchestrator = standIn({
    reasons: () => {
      throw boom;
    },
  });
  let api: Awaited<ReturnType<typeof serveApi>>;
  beforeAll(async () => {
    api = await serveApi(directory.path, depsOf(orchestrator, { token: () => "t" }));
  });
  afterAll(async () => {
    await api[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  it("refuses a body over 1 MiB, whether its length is announced or not", async () => {
    const body = "x".repeat(2 * 1024 * 1024);
    const announced = await api.tcp("POST", "/api/v1/drain", { body, headers: { Authorization: "Bearer t" } });
    expect([announced.status, problemOf(announced).code]).toEqual([413, "BODY_TOO_LARGE"]);
    expect(await chunked(`${api.tcpUrl}/api/v1/drain`, body)).toBe(413);
    expect((await api.tcp("GET", "/health")).status, "the listener goes on").toBe(200);
  });

  it("answers HEAD without a body, and unknown routes with a problem", async () => {
    expect(await api.tcp("HEAD", "/health")).toMatchObject({ status: 200, body: "" });
    expect(await api.tcp("HEAD", "/metrics")).toMatchObject({ status: 200, body: "" });
    expect(problemOf(await api.tcp("GET", "/nothing"))).toMatchObject({ code: "ROUTE_UNKNOWN" });
    expect((await api.tcp("OPTIONS", "/api/v1/drain")).status, "nobody is invited across origins").toBe(401);
  });

  it("says why a request failed on the socket, and over TCP only that it did", async () => {
    boom = new FireteactError("STORE_BROKEN", "the store at /secret/place is broken", { hint: "mend it" });
    expect(problemOf(await api.socket("GET", "/api/v1/jobs"))).toEqual({
      code: "STORE_BROKEN",
      message: "the store at /secret/place is broken",
      hint: "mend it",
    });
    const tcp = await api.tcp("GET", "/api/v1/jobs", { headers: { Authorization: "Bearer t" } });
    expect([tcp.status, problemOf(tcp).code]).toEqual([500, "INTERNAL"]);
    expect(tcp.body).not.toContain("secret");
  });

  it.each(["limit=0", "limit=-1", "limit=all", "limit=1.5"])("refuses history?%s", async (query) => {
    const answer = await api.socket("GET", `/api/v1/history?${query}`);
    expect([answer.status, problemOf(answer).code]).toEqual([400, "QUERY_INVALID"]);
  });
});

/** Status of the answer to a body of unknown length. */
function chunked(url: string, body: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method: "POST", headers: { "Transfer-Encoding": "chunked" } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    outgoing.once("error", reject);
    for (let at = 0; at < body.length; at += 65_536) outgoing.write(body.slice(at, at + 65_536));
    outgoing.end();
  });
}
