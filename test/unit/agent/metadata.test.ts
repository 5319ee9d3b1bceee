import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { readAssignment, waitForAssignment } from "../../../src/agent/assignment.ts";
import { createMetadataClient } from "../../../src/agent/metadata.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((done) => server.close(done));
});

async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler);
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const signal = (): AbortSignal => new AbortController().signal;
const runner = { runner_name: "fireteact-1", gitea_instance_url: "http://forge", registration_token: "nothing" };
const credentials = {
  row: "7",
  uuid: "u",
  token: "t",
  address: "http://forge",
  labels: "a:host,b:host",
  ephemeral: "true",
};

describe("metadata in a file", () => {
  it("are read anew each time, by the same paths", async () => {
    const directory = mkdtempSync(join(tmpdir(), "fireteact-metadata-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "runner");
    const client = createMetadataClient(`file:${file}`);
    await expect(client.read("/latest", signal())).rejects.toThrow(/cannot be read/);
    writeFileSync(file, JSON.stringify({ latest: { "meta-data": { fireteact: runner } } }));
    expect(await client.read("/latest/meta-data/fireteact", signal())).toEqual(runner);
    expect(await client.read("/latest/user-data", signal())).toBeUndefined();
    expect(await client.read("/latest/meta-data/fireteact/runner_name/length", signal())).toBeUndefined();
  });
});

describe("the metadata client", () => {
  it("asks for a token first and sends it under both names", async () => {
    const seen: string[] = [];
    const address = await serve((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      const { "x-metadata-token": one, "x-aws-ec2-metadata-token": two, accept } = request.headers;
      response.end(request.method === "PUT" ? "secret-token" : JSON.stringify({ one, two, accept }));
    });
    const client = createMetadataClient(address);
    expect(await client.read("/a", signal())).toEqual({
      one: "secret-token",
      two: "secret-token",
      accept: "application/json",
    });
    await client.read("/b", signal());
    expect(seen).toEqual(["PUT /latest/api/token", "GET /a", "GET /b"]);
  });

  it("does without where there are no tokens, and takes a new one when the old one is refused", async () => {
    const plain = await serve((request, response) => {
      response.statusCode = request.method === "PUT" ? 405 : 200;
      response.end(JSON.stringify({ token: request.headers["x-metadata-token"] ?? null }));
    });
    expect(await createMetadataClient(plain).read("/a", signal())).toEqual({ token: null });

    let valid = 0;
    const restarted = await serve((request, response) => {
      const asked = request.method === "PUT";
      if (asked) valid++;
      const accepted = request.headers["x-metadata-token"] === `token-${valid}`;
      response.statusCode = asked || accepted ? 200 : 401;
      response.end(asked ? `token-${valid}` : accepted ? "{}" : "MMDS token not valid.");
    });
    const client = createMetadataClient(restarted);
    await client.read("/a", signal());
    valid++;
    expect(await client.read("/a", signal())).toEqual({});
  });

  it("says nothing is there on 404, and fails on rubbish and on an endless answer", async () => {
    const address = await serve((request, response) => {
      if (request.url === "/missing") response.statusCode = 404;
      if (request.url === "/endless") for (let part = 0; part < 100; part++) response.write("x".repeat(10_000));
      response.end("<html>");
    });
    const client = createMetadataClient(address);
    expect(await client.read("/missing", signal())).toBeUndefined();
    await expect(client.read("/rubbish", signal())).rejects.toThrow(/no JSON/);
    await expect(client.read("/endless", signal())).rejects.toThrow(/too long/);
    expect(() => createMetadataClient("ftp://x")).toThrow(/no address/);
  });
});

describe("an assignment", () => {
  it("is complete with credentials", () => {
    const tree = { ...runner, engine: "shell", engine_timeout_seconds: "60", pool_name: "p", credentials };
    expect(readAssignment(tree)).toEqual({
      kind: "complete",
      assignment: {
        name: "fireteact-1",
        pool: "p",
        engine: "shell",
        engineTimeout: 60_000,
        credentials: {
          row: "7",
          uuid: "u",
          token: "t",
          address: "http://forge",
          labels: ["a:host", "b:host"],
          ephemeral: true,
        },
      },
    });
  });

  it("waits without credentials, also when the registration token is set", () => {
    expect(readAssignment({ ...runner, engine: "shell" })).toEqual({ kind: "waiting", engine: "shell" });
    expect(readAssignment({ ...runner, engine: "shell", credentials: { uuid: "u" } }).kind).toBe("waiting");
  });

  it("of the original's host is a registration by the guest", () => {
    const finding = readAssignment({ ...runner, runner_labels: "x, y" });
    expect(finding).toMatchObject({ kind: "complete", assignment: { engine: "gitea-runner" } });
    expect(finding.kind === "complete" && finding.assignment.credentials).toEqual({
      instance: "http://forge",
      registrationToken: "nothing",
      labels: ["x", "y"],
    });
  });

  it("is missing where anything else is", () => {
    for (const tree of [
      undefined,
      null,
      "x",
      [],
      {},
      { ...runner, runner_name: "" },
      { ...runner, registration_token: "" },
    ]) {
      expect(readAssignment(tree).kind).toBe("missing");
    }
    expect(readAssignment({ ...runner, runner_name: "evil\nname" }).kind).toBe("missing");
  });

  it("is waited for over failures, and looked for at once when the host says so", async () => {
    const answers: unknown[] = [new Error("refused"), undefined, { ...runner, engine: "shell" }];
    const poke = Promise.withResolvers<void>();
    let reads = 0;
    const started = performance.now();
    const assignment = await waitForAssignment({
      client: {
        read: async () => {
          reads++;
          const answer = answers.shift();
          if (answer instanceof Error) throw answer;
          if (reads === 3) setTimeout(poke.resolve, 20);
          return reads > 3 ? { ...runner, engine: "shell", credentials } : answer;
        },
      },
      retryWait: reads < 3 ? 10 : 60_000,
      clock: { ...systemClock, sleep: (_, abort) => systemClock.sleep(reads < 3 ? 5 : 60_000, abort) },
      log: silentLogger,
      signal: signal(),
      changed: async () => await poke.promise,
    });
    expect(assignment.name).toBe("fireteact-1");
    expect(reads).toBe(4);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});
