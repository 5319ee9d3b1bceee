import { createServer, type RequestListener } from "node:http";
import { describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { createCircuit } from "../../../src/forge/circuit.ts";
import type { RequestReport } from "../../../src/forge/http.ts";
import { type Handler, json, type StrictForge, startStrictForge } from "../../support/strict-forge.ts";
import { closeLater, failureOf, never, readableLog, targetAt } from "./harness.ts";

const PATH = "/api/v1/orgs/acme/actions/jobs";
const JOBS = `GET ${PATH}`;
const empty: Handler = (_, response) => json(response, 200, { jobs: [], total_count: 0 });

async function forgeWith(handler: Handler, subPath = ""): Promise<StrictForge> {
  const forge = closeLater(await startStrictForge({ version: "1.25.1", subPath }));
  forge.on(JOBS, handler);
  return forge;
}

/** First the answers given, one a request, then the empty list. */
function inTurn(...handlers: Handler[]): Handler {
  return (request, response) => (handlers.shift() ?? empty)(request, response);
}

const answer =
  (status: number, body: string, headers: Record<string, string> = {}): Handler =>
  (_, response) =>
    response.writeHead(status, headers).end(body);

/** A clock whose sleeps are kept and end at once. */
function instantClock(): { clock: Clock; slept: number[]; advance: (milliseconds: number) => void } {
  const slept: number[] = [];
  let ahead = 0;
  const clock: Clock = {
    ...systemClock,
    uptime: () => systemClock.uptime() + ahead,
    sleep: async (milliseconds) => {
      slept.push(milliseconds);
    },
  };
  return { clock, slept, advance: (milliseconds) => (ahead += milliseconds) };
}

describe("bad answers", () => {
  const cases: [string, Handler, string, RegExp][] = [
    [
      "an HTML page",
      answer(200, "<!DOCTYPE html><html><title>Sign in</title>"),
      "FORGE_BAD_ANSWER",
      /an HTML page: "<!DOCTYPE html>/,
    ],
    ["truncated JSON", answer(200, '{"jobs":[{"id":1'), "FORGE_BAD_ANSWER", /no valid JSON: "{"jobs":\[{"id":1"/],
    ["JSON of another kind", answer(200, '{"jobs":"none"}'), "FORGE_BAD_ANSWER", /another shape \(at jobs\)/],
    ["nothing", answer(200, ""), "FORGE_BAD_ANSWER", /no valid JSON: nothing/],
    ["terminal escapes", answer(200, "\u001b[2J\u0007boo"), "FORGE_BAD_ANSWER", /: "boo"/],
    ["a token that is not accepted", answer(401, '{"message":"invalid token"}'), "FORGE_UNAUTHORIZED", /invalid token/],
    ["no route", answer(404, '{"message":"not found"}'), "FORGE_NOT_FOUND", new RegExp(`has no ${PATH}`)],
    ["a status out of order", answer(418, "x".repeat(5000)), "FORGE_REFUSED", /with 418: "x{80}\.\.\."$/],
    ["an error of the forge", answer(500, '{"message":""}'), "FORGE_SERVER_ERROR", /500 Internal Server Error/],
    [
      "an HTML error of a proxy",
      answer(502, "<html>Bad gateway</html>"),
      "FORGE_SERVER_ERROR",
      /502 Bad Gateway .*: an HTML page/,
    ],
  ];
  it.each(cases)("says what came: %s", async (_, handler, code, message) => {
    const forge = await forgeWith(handler);
    const failure = await failureOf(targetAt(forge.url).jobs([], never));
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(failure.message.length).toBeLessThan(400);
    expect(failure.hint).toEqual(code === "FORGE_REFUSED" ? undefined : expect.any(String));
  });

  it("names the scope that the token lacks and what is needed", async () => {
    const message =
      "token does not have at least one of required scope(s), required=[read:organization], token scope=read:repository";
    const forge = await forgeWith((_, response) => json(response, 403, { message, url: "" }));
    expect(await failureOf(targetAt(forge.url).jobs([], never))).toMatchObject({
      code: "FORGE_FORBIDDEN",
      hint: "Needed here: a token with read:organization, made by an owner of the organisation; the forge asks for read:organization.",
      facts: { wantedScopes: "read:organization" },
    });
  });

  it("never repeats the token, whatever the forge says", async () => {
    const forge = await forgeWith((_, response) => json(response, 400, { message: "bad header: token secret-token" }));
    const failure = await failureOf(targetAt(forge.url).jobs([], never));
    expect(failure.message).toContain("bad header: token [secret]");
    const echo = await forgeWith(answer(200, "token secret-token"));
    const other = await failureOf(targetAt(echo.url).jobs([], never));
    expect(other.message).toContain("[secret]");
    expect(JSON.stringify([other, String(other.cause)])).not.toContain("secret-token");
  });

  it("reads no more than the limit", async () => {
    const forge = await forgeWith((_, response) => response.end(`{"jobs":[],"x":"${"y".repeat(300_000)}"}`));
    const failure = await failureOf(targetAt(forge.url, { tuning: { largestAnswer: 100_000 } }).jobs([], never));
    expect(failure).toMatchObject({
      code: "FORGE_BAD_ANSWER",
      message: expect.stringContaining("more than an answer may have"),
    });
    expect(forge.count(JOBS)).toBe(1);
  });

  it("reports a redirect with the URL to configure, and sends the token nowhere else", async () => {
    const elsewhere = await forgeWith(empty);
    const forge = await forgeWith((_, response) => response.writeHead(307, { location: elsewhere.url + PATH }).end());
    expect(await failureOf(targetAt(forge.url).jobs([], never))).toMatchObject({
      code: "FORGE_REDIRECT",
      hint: `If that is your forge, configure ${elsewhere.url} as its URL.`,
    });
    expect(elsewhere.seen).toEqual([]);
  });
});

describe("tries", () => {
  it("repeats what fails in passing, with growing random pauses", async () => {
    const drop: Handler = (_, response) => response.destroy();
    const forge = await forgeWith(inTurn(answer(502, ""), drop, answer(504, "")));
    const { clock, slept } = instantClock();
    const reports: RequestReport[] = [];
    const target = targetAt(forge.url, {
      clock,
      tuning: { retryPause: 100 },
      onRequest: (report) => reports.push(report),
    });
    expect((await target.jobs([], never)).items).toEqual([]);
    expect(slept).toHaveLength(3);
    for (const [index, pause] of slept.entries()) expect(pause).toBeLessThanOrEqual(100 * 2 ** index);
    expect(reports.map(({ operation, status }) => `${operation} ${status}`)).toEqual([
      "version 200",
      "jobs 502",
      "jobs 0",
      "jobs 504",
      "jobs 200",
    ]);
    expect(reports.every(({ milliseconds, target: key }) => milliseconds >= 0 && key === target.key)).toBe(true);
  });

  it("waits as long as the forge asks, and leaves it alone for all calls when that is longer than one may take", async () => {
    const { clock, slept, advance } = instantClock();
    const forge = await forgeWith(
      inTurn(answer(429, "", { "retry-after": "2" }), answer(503, "", { "retry-after": "120" })),
    );
    const circuit = createCircuit({ clock });
    const [target, other] = [targetAt(forge.url, { clock, circuit }), targetAt(forge.url, { clock, circuit })];
    const failure = await failureOf(target.jobs([], never));
    expect(failure).toMatchObject({ code: "FORGE_SERVER_ERROR", facts: { status: 503 } });
    expect(slept).toEqual([2000]);
    const asked = forge.seen.length;
    for (const seconds of [0, 60, 59]) {
      advance(seconds * 1000);
      expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_CIRCUIT_OPEN" });
      expect(await failureOf(other.deleteRunner(1, never))).toMatchObject({ facts: { sent: false } });
    }
    expect(forge.seen).toHaveLength(asked);
    advance(1000);
    expect((await target.jobs([], never)).items).toEqual([]);
  });

  it.each([
    ["an hour ahead", 3_600_000],
    ["an hour behind", -3_600_000],
  ])("reads a moment that it shall wait for by the forge's own clock, which is %s", async (_, ahead) => {
    const { clock, slept } = instantClock();
    const theirs = (later: number) => new Date(Math.ceil(Date.now() / 1000) * 1000 + ahead + later).toUTCString();
    const forge = await forgeWith(inTurn(answer(429, "", { date: theirs(0), "retry-after": theirs(2_000) })));
    expect((await targetAt(forge.url, { clock }).jobs([], never)).items).toEqual([]);
    expect(slept).toEqual([2000]);
  });

  it("is not kept from a forge for longer than a quarter of an hour", async () => {
    const { clock, advance } = instantClock();
    const forge = await forgeWith(inTurn(answer(429, "", { "retry-after": "999999" })));
    const target = targetAt(forge.url, { clock });
    await failureOf(target.jobs([], never));
    advance(15 * 60_000 + 1_000);
    expect((await target.jobs([], never)).items).toEqual([]);
  });

  it("asks for the token again after a 401, and repeats only with another one", async () => {
    const forge = await forgeWith(empty);
    const tokens = ["old-token", "secret-token"];
    let asked = 0;
    const target = targetAt(forge.url, { token: () => tokens[Math.min(asked++, 1)] ?? "" });
    expect((await target.jobs([], never)).items).toEqual([]);
    const wrong = targetAt(forge.url, { token: () => "wrong-token" });
    expect(await failureOf(wrong.jobs([], never))).toMatchObject({ code: "FORGE_UNAUTHORIZED" });
    expect(forge.seen.filter(({ headers }) => headers.authorization === "token wrong-token")).toHaveLength(1);
  });

  it("refuses a token that cannot be one without quoting it", async () => {
    const failure = await failureOf(targetAt("http://127.0.0.1:1", { token: () => "se\ncret" }).jobs([], never));
    expect(failure).toMatchObject({ code: "FORGE_UNAUTHORIZED", message: expect.not.stringContaining("cret\n") });
  });

  it("gives up on a forge that does not answer in time", async () => {
    const forge = await forgeWith(() => {});
    const slow = targetAt(forge.url, { tuning: { totalTimeout: 300, retries: 0 } });
    expect(await failureOf(slow.jobs([], never))).toMatchObject({
      code: "FORGE_UNREACHABLE",
      message: expect.stringContaining("no complete answer in time"),
    });
  });

  it("ends with the caller's own reason when the caller gives up", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const forge = await forgeWith(() => abort.abort(reason));
    expect(await failureOf(targetAt(forge.url).jobs([], abort.signal))).toBe(reason);
  });

  it("ends with the caller's own reason in a pause too", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const clock: Clock = {
      ...systemClock,
      sleep: async (milliseconds, signal) => {
        abort.abort(reason);
        await systemClock.sleep(milliseconds, signal);
      },
    };
    const forge = await forgeWith(answer(503, "", { "retry-after": "1" }));
    expect(await failureOf(targetAt(forge.url, { clock }).jobs([], abort.signal))).toBe(reason);
  });

  it("says that nothing was sent where nothing listens", async () => {
    const forge = await forgeWith(empty);
    await forge.close();
    expect(await failureOf(targetAt(forge.url).jobs([], never))).toMatchObject({
      code: "FORGE_UNREACHABLE",
      message: expect.stringContaining("connection refused"),
      facts: { sent: false },
    });
  });
});

describe("circuit", () => {
  it("stops asking a forge in trouble, for all its targets, and probes later", async () => {
    let broken = true;
    const forge = await forgeWith((request, response) => (broken ? answer(500, "") : empty)(request, response));
    const circuit = createCircuit({ failures: 3, pause: 50 });
    const first = targetAt(forge.url, { circuit });
    const second = targetAt(forge.url, { circuit });
    for (let index = 0; index < 3; index++) await failureOf(first.jobs([], never));
    const asked = forge.seen.length;
    expect(await failureOf(second.jobs([], never))).toMatchObject({
      code: "FORGE_CIRCUIT_OPEN",
      cause: { code: "FORGE_SERVER_ERROR" },
      facts: { sent: false },
    });
    expect(forge.seen).toHaveLength(asked);
    broken = false;
    await expect
      .poll(async () => (await first.jobs([], never).catch(() => undefined))?.items, { interval: 10 })
      .toEqual([]);
    expect((await second.jobs([], never)).items).toEqual([]);
  });

  it("opens again when the probe fails, and ignores a wall clock that was set back", async () => {
    const forge = await forgeWith(answer(500, ""));
    const { clock, advance } = instantClock();
    // An hour by the wall clock: only the uptime can end this pause.
    const target = targetAt(forge.url, { clock, circuit: createCircuit({ clock, failures: 1, pause: 3_600_000 }) });
    await failureOf(target.jobs([], never));
    expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_CIRCUIT_OPEN" });
    advance(7_300_000);
    expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_SERVER_ERROR" });
    expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_CIRCUIT_OPEN" });
  });

  it("is not opened by refusals", async () => {
    const forge = await forgeWith(answer(403, "{}"));
    const target = targetAt(forge.url, { circuit: createCircuit({ failures: 1, pause: 60_000 }) });
    for (let index = 0; index < 3; index++) {
      expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_FORBIDDEN" });
    }
  });
});

describe("places", () => {
  it("works below a sub-path", async () => {
    const forge = await forgeWith(empty, "/git");
    const target = targetAt(`${forge.url}/`);
    expect(target.url).toBe(forge.url);
    expect((await target.jobs([], never)).items).toEqual([]);
    expect(forge.seen.map(({ path }) => path)).toEqual(["/api/v1/version", PATH]);
  });

  it.each(["ftp://x", "git.example.org", "https://user:pw@git.example.org", "https://git.example.org/?x=1"])(
    "refuses %s as a forge",
    (url) => {
      expect(() => targetAt(url)).toThrow(
        expect.objectContaining({ code: "FORGE_URL", message: expect.not.stringContaining("pw") }),
      );
    },
  );

  it("keeps its connection from one poll to the next", async () => {
    let connections = 0;
    // As most forges: unused connections stay open, and no header says for how long.
    const serve = (listener: RequestListener) => {
      const server = createServer(listener).on("connection", () => connections++);
      server.keepAliveTimeout = 0;
      return server;
    };
    const forge = closeLater(await startStrictForge({ version: "1.25.1", serve }));
    forge.on(JOBS, empty);
    const target = targetAt(forge.url);
    await target.jobs([], never);
    const opened = connections;
    // The default interval of polls; nothing can be looked at in between.
    await systemClock.sleep(5_500);
    await target.jobs([], never);
    expect(connections).toBe(opened);
  });

  it("refuses scopes that would reach another route", () => {
    for (const owner of ["a/b", "..", "", "a?b"]) {
      expect(() => targetAt("http://127.0.0.1:1", { scope: { kind: "org", owner } })).toThrow(
        expect.objectContaining({ code: "FORGE_URL" }),
      );
    }
  });

  it("warns once when the way to the forge is not encrypted", async () => {
    const { log, lines } = readableLog();
    const target = targetAt("http://forge.invalid", { log, tuning: { retries: 0 } });
    for (const _ of [1, 2]) await failureOf(target.jobs([], never));
    expect(lines().filter(({ msg }) => String(msg).includes("without TLS"))).toHaveLength(1);
  });
});
