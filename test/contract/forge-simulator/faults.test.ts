import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get as httpsGet } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, it, onTestFinished } from "vitest";
import { PingRequestSchema, PingResponseSchema } from "../../../gen/ping/v1/ping_pb.js";
import { createForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import { HELLO, rig, runnerAt, TestRunner } from "./support.ts";

const push = { repository: "acme/site", yaml: HELLO };

describe("faults", () => {
  it("answer with another status, once or for ever, where they match", async () => {
    const { forge, get } = await rig();
    forge.faults.add({ match: "GET /api/v1/admin", fault: { kind: "status", status: 503 }, times: 2, after: 1 });
    const statuses = [];
    for (let n = 0; n < 4; n++) statuses.push((await get("/admin/actions/runners")).status);
    expect(statuses).toEqual([200, 503, 503, 200]);
    expect(forge.faults.struck()).toBe(2);
    const remove = forge.faults.add({ fault: { kind: "status", status: 500, message: "boom" } });
    expect(await get("/version")).toMatchObject({ status: 500, body: { message: "boom" } });
    remove();
    expect((await get("/version")).status).toBe(200);
  });

  it("limit the rate with Retry-After", async () => {
    const { forge, get } = await rig();
    forge.faults.add({ fault: { kind: "rate-limit", retryAfterSeconds: 7 }, times: 1 });
    const answer = await get("/version");
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "7"]);
  });

  it("send a page of HTML, broken JSON and half an answer", async () => {
    const { forge, get } = await rig();
    forge.faults.add({ fault: { kind: "html" }, times: 1 });
    const page = await get("/version");
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    forge.faults.add({ fault: { kind: "bad-json" }, times: 1 });
    await expect(get("/version")).rejects.toThrow(SyntaxError);
    forge.faults.add({ fault: { kind: "truncate" }, times: 1 });
    await expect(get("/version")).rejects.toThrow("terminated");
  });

  it("reset before the effect, or drop the reply after it", async () => {
    const { forge } = await rig();
    const token = forge.registrationToken("");
    forge.faults.add({ match: /Register/, fault: { kind: "reset" }, times: 1 });
    await expect(new TestRunner(forge).register(token)).rejects.toThrow();
    expect(forge.runners("all")).toHaveLength(0);
    forge.faults.add({ match: /Register/, fault: { kind: "drop-reply" }, times: 1 });
    await expect(new TestRunner(forge).register(token)).rejects.toThrow();
    expect(forge.runners("all")).toHaveLength(1);
    await forge.pushWorkflow(push);
    const runner = await runnerAt(forge);
    forge.faults.add({ match: /FetchTask/, fault: { kind: "drop-reply" }, times: 1 });
    await expect(runner.fetch()).rejects.toMatchObject({ code: Code.Aborted });
    expect(forge.jobs()[0]?.status).toBe("running");
  });

  it("wait, and hang until the caller gives up or the forge is closed", async () => {
    const { forge, get } = await rig();
    forge.faults.add({ fault: { kind: "slow", milliseconds: 100 }, times: 1 });
    const started = performance.now();
    await get("/version");
    expect(performance.now() - started).toBeGreaterThan(90);
    forge.faults.add({ fault: { kind: "hang" } });
    const given = fetch(`${forge.url}/api/v1/version`, { signal: AbortSignal.timeout(50) });
    await expect(given).rejects.toThrow("timeout");
    const pending = expect(fetch(`${forge.url}/api/v1/version`)).rejects.toThrow("fetch failed");
    await expect.poll(() => forge.faults.struck(), { timeout: 5000 }).toBe(3);
    await forge.close();
    await pending;
  });
});

describe("the server", () => {
  it("lives below a base path, for REST and RPC", async () => {
    const { forge, get } = await rig({ basePath: "/git/" });
    expect(forge.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/git$/);
    expect((await get("/version")).status).toBe(200);
    const outside = await fetch(forge.url.replace(/\/git$/, "/api/v1/version"));
    expect([outside.status, outside.headers.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
    const run = await forge.pushWorkflow(push);
    const task = await (await runnerAt(forge)).fetch();
    expect(task?.context).toMatchObject({ server_url: `${forge.url}/`, run_id: String(run.id) });
  });

  it("writes a public address where it has one", async () => {
    const { forge, get } = await rig({ publicUrl: "https://forge.example/" });
    await forge.pushWorkflow(push);
    const { body } = await get("/repos/acme/site/actions/jobs");
    expect(body.jobs[0].url).toBe("https://forge.example/api/v1/repos/acme/site/actions/jobs/1");
  });

  it("speaks TLS and can change its certificate", async () => {
    const first = certificate("first");
    const second = certificate("second");
    const { forge } = await rig({ tls: first });
    const version = (ca: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        httpsGet(`${forge.url}/api/v1/version`, { ca, agent: false }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        }).on("error", reject);
      });
    expect(await version(first.cert)).toBe(200);
    await expect(version(second.cert)).rejects.toThrow("self-signed certificate");
    forge.setTls(second);
    await expect(version(first.cert)).rejects.toThrow("self-signed certificate");
    expect(await version(second.cert)).toBe(200);
  });

  it("resets under TLS too", async () => {
    const own = certificate("own");
    const { forge } = await rig({ tls: own });
    forge.faults.add({ fault: { kind: "reset" }, times: 1 });
    const outcome = await new Promise((resolve) => {
      const request = httpsGet(`${forge.url}/api/v1/version`, { ca: own.cert, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    expect(outcome).toBe("ECONNRESET");
  });

  it("answers Ping in binary without credentials", async () => {
    const { forge } = await rig();
    const answer = await fetch(`${forge.url}/api/actions/ping.v1.PingService/Ping`, {
      method: "POST",
      headers: { "content-type": "application/proto", "connect-protocol-version": "1" },
      body: new Uint8Array(toBinary(PingRequestSchema, create(PingRequestSchema, { data: "you" }))),
    });
    const body = fromBinary(PingResponseSchema, new Uint8Array(await answer.arrayBuffer()));
    expect(body.data).toBe("Hello, you!");
  });

  it("counts requests by route", async () => {
    const { forge, get } = await rig();
    await get("/repos/acme/site/actions/jobs?status=queued");
    await get("/repos/acme/site/actions/jobs");
    await get("/nothing/here");
    expect(forge.requests.counts()).toEqual({
      "GET /api/v1/repos/:owner/:repo/actions/jobs": 2,
      "GET (no route)": 1,
    });
    expect(forge.requests.all()[0]).toMatchObject({ status: 200, query: "?status=queued" });
    forge.requests.clear();
    expect(forge.requests.total()).toBe(0);
  });

  it("adds its latency to every request", async () => {
    const { forge, get } = await rig({ latencyMs: 500 });
    const started = performance.now();
    await get("/version");
    expect(performance.now() - started).toBeGreaterThan(490);
    forge.latencyMs = 0;
    await get("/version");
    expect(forge.requests.all()[1]?.milliseconds).toBeLessThan(490);
  });

  it("leaves nothing behind and may be closed twice", async () => {
    const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1" });
    await forge.addRepository("acme/site", { files: { a: "b" } });
    await fetch(`${forge.url}/api/v1/version`);
    await forge.close();
    await forge.close();
    await expect(fetch(`${forge.url}/api/v1/version`)).rejects.toThrow("fetch failed");
  });

  it("says which version it cannot be", async () => {
    await expect(createForgeSimulator({ flavour: "gitea", version: "next" })).rejects.toMatchObject({
      code: "SIMULATOR_VERSION",
    });
  });
});

function certificate(name: string): { key: string; cert: string } {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-tls-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  execFileSync(
    "openssl",
    // biome-ignore format: one option a line helps nobody
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
     "-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
    { stdio: "ignore" },
  );
  return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
}
