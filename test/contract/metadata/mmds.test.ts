import { once } from "node:events";
import { type AddressInfo, connect, type Server, type Socket } from "node:net";
import { text as readAll } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import type { GuestMetadata } from "../../../src/metadata/respond.ts";
import { createMetadataServer } from "../../../src/metadata/server.ts";
import { createTokens } from "../../../src/metadata/tokens.ts";

const DOCUMENT = {
  latest: {
    "meta-data": { "instance-id": "pool-1", fireteact: { runner_name: "r", gitea_instance_url: "https://forge.test" } },
    "user-data": "#!/bin/sh\necho hello\n",
  },
  zeta: { b: "2", a: "1", nested: {} },
  number: 43,
  flag: true,
  nothing: null,
  list: ["first", { deep: "value" }],
  "with/slash": "slash",
  "with~tilde": "tilde",
  ünï: "cödé",
};

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function serve(version: "V1" | "V2", clock: Clock = systemClock): Promise<{ server: Server; port: number }> {
  const guest: GuestMetadata = { version, document: DOCUMENT, tokens: createTokens(clock) };
  const server = createMetadataServer(guest, clock);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  return { server, port: (server.address() as AddressInfo).port };
}

function open(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  closers.push(() => socket.destroy());
  return socket;
}

/** Sends bytes, and returns all that comes back until the connection is closed. */
async function ask(port: number, request: string | Buffer): Promise<string> {
  const socket = open(port);
  socket.end(request);
  return await readAll(socket);
}

/** What the server answers, byte by byte. */
const answer = (
  status: number,
  body: string,
  options: { type?: string; version?: string; headers?: string[] } = {},
): string =>
  [
    `${options.version ?? "HTTP/1.1"} ${status} `,
    "Server: Firecracker API",
    "Connection: keep-alive",
    ...(options.headers ?? []),
    `Content-Type: ${options.type ?? "text/plain"}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");

const json = (body: string): string => answer(200, body, { type: "application/json" });

const get = (path: string, ...headers: string[]): string =>
  [`GET ${path} HTTP/1.1`, "Host: 169.254.169.254", ...headers, "", ""].join("\r\n");
const put = (path: string, ...headers: string[]): string =>
  [`PUT ${path} HTTP/1.1`, "Host: 169.254.169.254", ...headers, "", ""].join("\r\n");
const JSON_ONLY = "Accept: application/json";

describe("MMDS V1 answers", () => {
  const rows: [what: string, request: string, expected: string][] = [
    ["a string as text", get("/latest/meta-data/instance-id"), answer(200, "pool-1")],
    ["a string as JSON", get("/latest/meta-data/instance-id", JSON_ONLY), json('"pool-1"')],
    ["an object as its sorted keys", get("/zeta"), answer(200, "a\nb\nnested/")],
    ["an empty object as nothing", get("/zeta/nested"), answer(200, "")],
    ["an object as compact JSON with sorted keys", get("/zeta", JSON_ONLY), json('{"a":"1","b":"2","nested":{}}')],
    [
      "the fireteact subtree as the agent asks for it",
      get("/latest/meta-data/fireteact", JSON_ONLY),
      json('{"gitea_instance_url":"https://forge.test","runner_name":"r"}'),
    ],
    [
      "the root's keys",
      get("/"),
      answer(200, "flag\nlatest/\nlist\nnothing\nnumber\nwith/slash\nwith~tilde\nzeta/\nünï"),
    ],
    ["user data with its line ends", get("/latest/user-data"), answer(200, "#!/bin/sh\necho hello\n")],
    ["repeated slashes and one at the end", get("//latest///meta-data/instance-id/"), answer(200, "pool-1")],
    ["an absolute URI", get("http://169.254.169.254/zeta/a"), answer(200, "1")],
    ["an array element by index", get("/list/0"), answer(200, "first")],
    ["below an array element", get("/list/1/deep"), answer(200, "value")],
    ["pointer escapes", get("/with~1slash") + get("/with~0tilde"), answer(200, "slash") + answer(200, "tilde")],
    ["UTF-8, counted in bytes", get("/ünï"), answer(200, "cödé")],
    ["a list of types as text", get("/zeta/a", "Accept: application/json, text/plain"), answer(200, "1")],
    ["*/* as text", get("/zeta/a", "Accept: */*"), answer(200, "1")],
    ["header names in any case", get("/zeta/a", "aCCept: application/json"), json('"1"')],
    ["a number as JSON", get("/number", JSON_ONLY), json("43")],
    ["null as JSON", get("/nothing", JSON_ONLY), json("null")],
    ["HTTP/1.0 in the same version", "GET /zeta/a HTTP/1.0\r\n\r\n", answer(200, "1", { version: "HTTP/1.0" })],
    ["several requests in order", get("/zeta/a") + get("/zeta/b"), answer(200, "1") + answer(200, "2")],
    ["a wrong token all the same", get("/zeta/a", "X-metadata-token: nonsense"), answer(200, "1")],
  ];
  it.each(rows)("%s", async (_, request, expected) => {
    const { port } = await serve("V1");
    expect(await ask(port, request)).toBe(expected);
  });
});

describe("MMDS refuses", () => {
  const UNSUPPORTED = "Cannot retrieve value. The value has an unsupported type.";
  const rows: [what: string, request: string | Buffer, expected: string][] = [
    ["what is not there", get("/no/such//key"), answer(404, "Resource not found: /no/such//key.")],
    ["a query, which is part of the path", get("/zeta/a?x=1"), answer(404, "Resource not found: /zeta/a?x=1.")],
    ["below a string", get("/zeta/a/b"), answer(404, "Resource not found: /zeta/a/b.")],
    ["inherited properties", get("/constructor"), answer(404, "Resource not found: /constructor.")],
    ["an array index with a leading zero", get("/list/00"), answer(404, "Resource not found: /list/00.")],
    ["a number as text", get("/number"), answer(501, UNSUPPORTED)],
    ["a boolean as text", get("/flag"), answer(501, UNSUPPORTED)],
    ["null as text", get("/nothing"), answer(501, UNSUPPORTED)],
    ["an array as text", get("/list"), answer(501, UNSUPPORTED)],
    ["a URI without a path", get("http://169.254.169.254"), answer(400, "Invalid URI.")],
    ["a relative URI", get("latest"), answer(400, "Invalid URI.")],
    ["an empty URI", "GET  HTTP/1.1  \r\n\r\n", answer(400, "Empty URI not allowed.")],
    [
      "PATCH",
      get("/").replace("GET", "PATCH"),
      answer(405, "Not allowed HTTP method.", { headers: ["Allow: GET, PUT"] }),
    ],
    [
      "DELETE",
      get("/").replace("GET", "DELETE"),
      answer(405, "Not allowed HTTP method.", { headers: ["Allow: GET, PUT"] }),
    ],
    ["POST", get("/").replace("GET", "POST"), answer(501, "Unsupported HTTP method.")],
    ["HEAD", get("/").replace("GET", "HEAD"), answer(501, "Unsupported HTTP method.")],
    ["a method in small letters", get("/").replace("GET", "get"), answer(501, "Unsupported HTTP method.")],
    ["HTTP/2.0", "GET / HTTP/2.0\r\n\r\n", answer(501, "Unsupported HTTP version.")],
    ["a line of one word", "GET-/-HTTP/1.1\r\n\r\n", answer(400, "Invalid request.")],
    ["bare line feeds", "GET / HTTP/1.1\n\n", answer(400, "Invalid request.")],
    ["a body on GET", get("/", "Content-Length: 1"), answer(400, "Invalid request.")],
    [
      "a length that is no number",
      get("/", "Content-Length: x"),
      answer(400, "Invalid value. Key:Content-Length; Value: x"),
    ],
    ["a header without a colon", get("/", "nonsense"), answer(400, "Header is incorrectly formatted. Key: nonsense")],
    [
      "a client that refuses plain answers",
      get("/", "Accept-Encoding: gzip, identity;q=0"),
      answer(400, "Invalid value. Key:Accept-Encoding; Value:identity;q=0"),
    ],
    [
      "bytes that are not UTF-8",
      Buffer.from([...Buffer.from("GET /\xff HTTP/1.1\r\n\r\n", "latin1")]),
      answer(400, "Invalid request."),
    ],
  ];
  it.each(rows)("%s", async (_, request, expected) => {
    const { port } = await serve("V1");
    expect(await ask(port, request)).toBe(expected);
  });
});

describe("session tokens", () => {
  const TTL = "X-metadata-token-ttl-seconds: 60";
  const NO_TTL =
    "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.";
  const rows: [what: string, request: string, expected: string][] = [
    ["another path", put("/latest/api/tokens", TTL), answer(404, "Resource not found: /latest/api/tokens.")],
    ["a slash at the end", put("/latest/api/token/", TTL), answer(404, "Resource not found: /latest/api/token/.")],
    ["no lifetime", put("/latest/api/token"), answer(400, NO_TTL)],
    [
      "a lifetime that is no number",
      put("/latest/api/token", "X-metadata-token-ttl-seconds: soon"),
      answer(400, "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:soon"),
    ],
    [
      "a lifetime of nothing",
      put("/latest/api/token", "X-metadata-token-ttl-seconds: 0"),
      answer(400, "Invalid time to live value provided for token: 0. Please provide a value between 1 and 21600."),
    ],
    [
      "a lifetime that is too long",
      put("/latest/api/token", "X-metadata-token-ttl-seconds: 21601"),
      answer(400, "Invalid time to live value provided for token: 21601. Please provide a value between 1 and 21600."),
    ],
    [
      "a number that is too large",
      put("/latest/api/token", "X-metadata-token-ttl-seconds: 4294967296"),
      answer(400, "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:4294967296"),
    ],
    [
      "a forwarded request, whatever its path",
      put("/x", TTL, "x-forwarded-FOR: 1.2.3.4"),
      answer(400, "Invalid header. Reason: Unsupported header name. Key: x-forwarded-FOR"),
    ],
  ];
  it.each(rows)("are refused to %s", async (_, request, expected) => {
    for (const version of ["V1", "V2"] as const) {
      const { port } = await serve(version);
      expect(await ask(port, request)).toBe(expected);
    }
  });

  it.each(["X-metadata-token-ttl-seconds", "x-AWS-ec2-metadata-token-ttl-seconds"])(
    "are given for %s",
    async (name) => {
      for (const version of ["V1", "V2"] as const) {
        const { port } = await serve(version);
        const reply = await ask(port, put("//latest/api//token", `${name}: 21600`));
        const token = reply.split("\r\n\r\n")[1] ?? "";
        expect(token).toMatch(/^[A-Za-z0-9+/]{48}$/);
        expect(reply).toBe(answer(200, token, { headers: [`${name}: 21600`] }));
      }
    },
  );

  it("are needed by V2", async () => {
    const { port } = await serve("V2");
    const none =
      "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token.";
    expect(await ask(port, get("/zeta/a"))).toBe(answer(401, none));
    expect(await ask(port, get("/zeta/a", `X-metadata-token: ${"A".repeat(48)}`))).toBe(
      answer(401, "MMDS token not valid."),
    );
    const token = await newToken(port);
    expect(await ask(port, get("/zeta/a", `X-metadata-token: ${token}`))).toBe(answer(200, "1"));
    expect(await ask(port, get("/zeta/a", `x-aws-EC2-metadata-token: ${token}`))).toBe(answer(200, "1"));
  });

  it("of one guest mean nothing to another", async () => {
    const [first, second] = [await serve("V2"), await serve("V2")];
    const token = await newToken(first.port);
    expect(await ask(second.port, get("/zeta/a", `X-metadata-token: ${token}`))).toBe(
      answer(401, "MMDS token not valid."),
    );
  });

  it("expire by the uptime, not by the wall clock", async () => {
    let uptime = 1_000;
    let now = 5_000_000;
    const { port } = await serve("V2", { ...systemClock, uptime: () => uptime, now: () => now });
    const token = await newToken(port, 10);
    now += 1_000_000;
    uptime += 9_999;
    expect(await ask(port, get("/zeta/a", `X-metadata-token: ${token}`))).toBe(answer(200, "1"));
    uptime += 1;
    expect(await ask(port, get("/zeta/a", `X-metadata-token: ${token}`))).toBe(answer(401, "MMDS token not valid."));
  });

  it("are kept in bounded number", async () => {
    const tokens = createTokens(systemClock);
    const first = tokens.issue(60);
    expect(tokens.accepts(first)).toBe(true);
    for (let count = 0; count < 256; count++) tokens.issue(60);
    expect(tokens.accepts(first)).toBe(false);
  });

  async function newToken(port: number, ttl = 60): Promise<string> {
    const reply = await ask(port, put("/latest/api/token", `X-metadata-token-ttl-seconds: ${ttl}`));
    return reply.split("\r\n\r\n")[1] ?? "";
  }
});

describe("hostile guests", () => {
  const padded = (length: number): string => {
    const bare = get("/zeta/a", "X: ").length;
    return get("/zeta/a", `X: ${"x".repeat(length - bare)}`);
  };

  it("may send requests of 2500 bytes, and are cut off beyond", async () => {
    const { port } = await serve("V1");
    expect(padded(2500)).toHaveLength(2500);
    expect(await ask(port, padded(2500))).toBe(answer(200, "1"));
    await expect(ask(port, padded(2501))).rejects.toThrow(/ECONNRESET|socket hang up/);
    await expect(ask(port, "x".repeat(100_000))).rejects.toThrow(/ECONNRESET|EPIPE/);
  });

  it("get one answer for a request that comes byte by byte", async () => {
    const { port } = await serve("V1");
    const socket = open(port);
    const reply = readAll(socket);
    for (const byte of get("/zeta/a")) {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    socket.end();
    expect(await reply).toBe(answer(200, "1"));
  });

  it("have 30 connections, of which one that was quiet for 10 s gives way", async () => {
    let uptime = 0;
    const { port } = await serve("V1", { ...systemClock, uptime: () => uptime });
    const held: Socket[] = [];
    for (let count = 0; count < 30; count++) {
      const socket = open(port);
      socket.on("error", () => undefined);
      await once(socket, "connect");
      held.push(socket);
      socket.write(get("/zeta/a"));
      await once(socket, "data");
      uptime += 100;
    }
    await expect(ask(port, get("/zeta/a"))).rejects.toThrow(/ECONNRESET|EPIPE/);
    uptime = 10_000;
    const gone = new Promise((resolve) => held[0]?.once("close", resolve));
    const newcomer = open(port);
    newcomer.write(get("/zeta/b"));
    expect(String(await once(newcomer, "data"))).toBe(answer(200, "2"));
    await gone;
    await expect(ask(port, get("/zeta/a"))).rejects.toThrow(/ECONNRESET|EPIPE/);
  });

  it("that do not read their answers stop being read", async () => {
    const { port, server } = await serve("V1");
    const sockets: Socket[] = [];
    server.on("connection", (socket: Socket) => sockets.push(socket));
    const socket = open(port);
    socket.pause();
    socket.on("error", () => undefined);
    const flood = get("/").repeat(20_000);
    socket.write(flood);
    await expect.poll(() => sockets[0]?.isPaused() ?? false).toBe(true);
    expect(sockets[0]?.writableLength ?? 0).toBeLessThan(1_000_000);
    expect(sockets[0]?.bytesRead ?? 0).toBeLessThan(flood.length);
  });

  it("that ask without end are slowed down", async () => {
    const { port } = await serve("V1");
    const start = performance.now();
    const reply = await ask(port, get("/zeta/a").repeat(65));
    expect(reply).toBe(answer(200, "1").repeat(65));
    expect(performance.now() - start).toBeGreaterThan(200);
  });

  it("that send noise get an error or a reset, and the next request is answered", async () => {
    const { port } = await serve("V1");
    for (const noise of [
      "\r\n\r\n\r\n\r\n",
      "\0\0\0\n\n",
      ":\r\n:\r\n\r\n",
      `GET /${"/".repeat(2000)} HTTP/1.1\r\n\r\n`,
    ]) {
      const reply = await ask(port, noise).catch((error: unknown) => String(error));
      expect(reply).toMatch(/^HTTP\/1\.1 (400|200) |ECONNRESET/);
    }
    await sleep(0);
    expect(await ask(port, get("/zeta/a"))).toBe(answer(200, "1"));
  });
});
