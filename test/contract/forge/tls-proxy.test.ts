import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ForgeTargetOptions } from "../../../src/forge/create.ts";
import { startConnectProxy } from "../../support/connect-proxy.ts";
import {
  json,
  type RegisterBehaviour,
  type StrictForge,
  serveRegister,
  startStrictForge,
} from "../../support/strict-forge.ts";
import { closeLater, failureOf, never, targetAt } from "./harness.ts";

const fixtures = join(import.meta.dirname, "../../support/fixtures/tls");
const caFile = join(fixtures, "ca.pem");
const ROUTE = "/api/v1/orgs/acme/actions";

async function forge(options: { tls: boolean }): Promise<StrictForge> {
  const tls = { key: readFileSync(join(fixtures, "server.key")), cert: readFileSync(join(fixtures, "server.pem")) };
  const started = await startStrictForge({
    version: "1.26.0",
    subPath: "/git",
    ...(options.tls ? { scheme: "https" as const, serve: (listener) => createServer(tls, listener) } : {}),
  });
  started.on(`GET ${ROUTE}/jobs`, (_, response) => json(response, 200, { jobs: [], total_count: 0 }));
  started.on(`POST ${ROUTE}/runners/registration-token`, (_, response) =>
    json(response, 200, { token: "registration-token" }),
  );
  return closeLater(started);
}

/** Reads the queue and registers a runner, so that REST and runner protocol take the same way. */
async function useAll(started: StrictForge, url: string, options: Partial<ForgeTargetOptions>): Promise<void> {
  const behaviour: RegisterBehaviour = {
    accepted: new Set(["registration-token"]),
    ephemeralEcho: true,
    registered: [],
  };
  serveRegister(started, behaviour);
  const target = targetAt(url, options);
  expect((await target.jobs([], never)).items).toEqual([]);
  expect(await target.register({ name: "vm", labels: ["x:host"] }, never)).toMatchObject({ row: 1 });
}

describe("private authorities", () => {
  it("trusts the given authority, for REST and the runner protocol", async () => {
    const started = await forge({ tls: true });
    await useAll(started, started.url, { caFile });
    await useAll(started, started.url, { ca: readFileSync(caFile, "utf8") });
  });

  it("says which key to set when the certificate is not trusted", async () => {
    const started = await forge({ tls: true });
    expect(await failureOf(targetAt(started.url).jobs([], never))).toMatchObject({
      code: "FORGE_TLS",
      hint: expect.stringContaining("`caFile`"),
    });
    expect(started.seen).toEqual([]);
  });

  it("says so when the name is not the certificate's", async () => {
    const started = await forge({ tls: true });
    const url = started.url.replace("127.0.0.1", "127.0.0.2");
    const proxy = closeLater(await startConnectProxy());
    expect(await failureOf(targetAt(url, { caFile, proxy: { url: proxy.url } }).jobs([], never))).toMatchObject({
      code: "FORGE_TLS",
      hint: expect.stringContaining("name that is in the forge's certificate"),
    });
  });

  it("names a file that is missing or holds no certificate", async () => {
    const missing = targetAt("https://127.0.0.1:1", { caFile: "/nonexistent/ca.pem" });
    expect(await failureOf(missing.jobs([], never))).toMatchObject({
      code: "FORGE_TLS",
      message: expect.stringContaining("/nonexistent/ca.pem"),
    });
    const wrong = targetAt("https://127.0.0.1:1", { caFile: join(fixtures, "README.md") });
    expect(await failureOf(wrong.jobs([], never))).toMatchObject({
      code: "FORGE_TLS",
      message: expect.stringContaining("no certificate"),
    });
  });

  it("says so when plain http meets a TLS port", async () => {
    const started = await forge({ tls: true });
    const failure = await failureOf(
      targetAt(started.url.replace("https", "http"), { tuning: { retries: 0 } }).jobs([], never),
    );
    expect(failure.message).toMatch(/closed before|does not answer in HTTP|reset/);
  });
});

describe("proxies", () => {
  it("tunnels TLS through a proxy, which resolves the name", async () => {
    const started = await forge({ tls: true });
    const proxy = closeLater(await startConnectProxy());
    const url = started.url.replace("127.0.0.1", "forge.test");
    await useAll(started, url, { caFile, proxy: { url: proxy.url } });
    expect(proxy.seen[0]).toBe(new URL(url).host);
  });

  it("takes plain http through the proxy too", async () => {
    const started = await forge({ tls: false });
    const proxy = closeLater(await startConnectProxy());
    await useAll(started, started.url.replace("127.0.0.1", "forge.test"), { proxy: { url: proxy.url } });
    expect(proxy.seen.length).toBeGreaterThan(0);
  });

  it("goes past the proxy for the hosts that are excepted", async () => {
    const started = await forge({ tls: true });
    const proxy = closeLater(await startConnectProxy());
    await useAll(started, started.url, { caFile, proxy: { url: proxy.url, no: "10.0.0.0,127.0.0.1" } });
    expect(proxy.seen).toEqual([]);
  });

  it("names the proxy that refuses, without its password", async () => {
    const started = await forge({ tls: true });
    const proxy = closeLater(await startConnectProxy({ refuse: 407 }));
    const url = proxy.url.replace("//", "//user:proxy-password@");
    const failure = await failureOf(targetAt(started.url, { proxy: { url }, tuning: { retries: 0 } }).jobs([], never));
    expect(failure).toMatchObject({
      code: "FORGE_UNREACHABLE",
      message: expect.stringMatching(/through the proxy 127\.0\.0\.1:\d+: .*407/),
    });
    expect(`${failure.message}${String(failure.cause)}`).not.toContain("proxy-password");
  });
});
