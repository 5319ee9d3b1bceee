import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import type { ForgeScope } from "../../../src/core/types.ts";
import {
  json,
  REGISTER_ROUTE,
  type RegisterBehaviour,
  type StrictForge,
  serveRegister,
  startStrictForge,
} from "../../support/strict-forge.ts";
import { closeLater, failureOf, never, readableLog, targetAt } from "./harness.ts";

const EPOCH = "1970-01-01T00:00:00Z";
const RUNNERS = "/api/v1/orgs/acme/actions/runners";
const JOBS = "GET /api/v1/orgs/acme/actions/jobs";

async function gitea(version = "1.25.1"): Promise<StrictForge> {
  return closeLater(await startStrictForge({ version }));
}

function withRegister(forge: StrictForge, ephemeralEcho = true): RegisterBehaviour {
  const behaviour: RegisterBehaviour = { accepted: new Set(["registration-token-1"]), ephemeralEcho, registered: [] };
  forge.on(`POST ${RUNNERS}/registration-token`, (_, response) =>
    json(response, 200, { token: [...behaviour.accepted].at(-1) }),
  );
  serveRegister(forge, behaviour);
  return behaviour;
}

const job = (id: number, more: object = {}): object => ({
  id,
  url: `http://other.example/api/v1/repos/acme/app/actions/jobs/${id}`,
  run_url: "http://other.example/api/v1/repos/acme/app/actions/runs/7",
  html_url: `http://other.example/acme/app/actions/runs/7/jobs/${id}`,
  run_id: 7,
  name: `job ${id}`,
  labels: ["ubuntu"],
  run_attempt: 1,
  status: "queued",
  steps: null,
  created_at: "2026-11-01T10:00:00Z",
  started_at: EPOCH,
  completed_at: EPOCH,
  ...more,
});

describe("jobs", () => {
  it("maps Gitea's words and leaves out what is unset", async () => {
    const forge = await gitea();
    forge.on(JOBS, (_, response) =>
      json(response, 200, {
        total_count: 4,
        jobs: [
          job(1, { run_attempt: 0 }),
          job(2, { status: "waiting", labels: null, created_at: EPOCH, html_url: "javascript:alert(1)" }),
          job(3, { status: "in_progress", runner_id: 12, runner_name: "vm", run_attempt: 2 }),
          job(4, { status: "completed", conclusion: "success" }),
        ],
      }),
    );
    const target = targetAt(forge.url);
    expect((await target.jobs([], never)).items).toEqual([
      {
        key: `${target.key}/1/1`,
        target: target.key,
        id: 1,
        attempt: 1,
        name: "job 1",
        labels: ["ubuntu"],
        status: "queued",
        repository: "acme/app",
        run: 7,
        url: "http://other.example/acme/app/actions/runs/7/jobs/1",
        queuedAt: Date.parse("2026-11-01T10:00:00Z"),
      },
      expect.objectContaining({ id: 2, status: "blocked", labels: [] }),
      expect.objectContaining({ id: 3, status: "running", runnerRow: 12, key: `${target.key}/3/2` }),
    ]);
    const blocked = (await target.jobs([], never)).items[1];
    expect(blocked).not.toHaveProperty("queuedAt");
    expect(blocked).not.toHaveProperty("url");
    expect(forge.seen.at(-1)?.query.getAll("status")).toEqual(["queued", "waiting", "in_progress"]);
  });

  it("reads all pages though the server gives smaller ones, and drops duplicates", async () => {
    const forge = await gitea();
    forge.on(JOBS, (request, response) => {
      const page = Number(request.query.get("page"));
      // Twenty a page whatever is asked for; each page begins with the last element of the one before.
      const ids = Array.from({ length: page < 4 ? 20 : 3 }, (_, index) => (page - 1) * 20 + index - (page - 1));
      json(response, 200, { total_count: 60, jobs: ids.map((id) => job(id + 1)) });
    });
    const jobs = (await targetAt(forge.url).jobs([], never)).items;
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(jobs.length);
    expect(jobs).toHaveLength(60);
  });

  it("drops an element that makes no sense, says so once, and keeps the others", async () => {
    const forge = await gitea();
    forge.on(JOBS, (_, response) =>
      json(response, 200, {
        total_count: 4,
        jobs: [job(1), { id: "x" }, job(3, { labels: ["x".repeat(10 * 1024 * 1024)] }), null],
      }),
    );
    const { log, lines } = readableLog();
    const target = targetAt(forge.url, { log });
    for (const _ of [1, 2]) expect((await target.jobs([], never)).items.map(({ id }) => id)).toEqual([1]);
    expect(lines().filter((line) => line.dropped === 3)).toHaveLength(1);
    expect(lines().every((line) => JSON.stringify(line).length < 1000)).toBe(true);
  });

  it("has no queue before 1.25 and says what that means", async () => {
    const target = targetAt((await gitea("1.24.7")).url);
    expect(await target.capabilities(never)).toMatchObject({ listsQueue: false, queueWebhooks: true });
    expect(await failureOf(target.jobs([], never))).toMatchObject({
      code: "FORGE_UNSUPPORTED",
      message: expect.stringContaining("the queue cannot be read"),
    });
  });
});

describe("runners", () => {
  it("lists every page, deletes by id, and takes a missing row for success", async () => {
    const forge = await gitea();
    forge.on(`GET ${RUNNERS}`, (request, response) => {
      const page = Number(request.query.get("page"));
      const ids = page === 1 ? Array.from({ length: 50 }, (_, index) => index + 1) : page === 2 ? [50, 51] : [];
      const runners = ids.map((id) => ({
        id,
        name: `vm-${id}`,
        status: id === 1 ? "online" : "offline",
        ephemeral: true,
      }));
      json(response, 200, { runners, total_count: 52 });
    });
    forge.on(`DELETE ${RUNNERS}/9`, (_, response) => response.writeHead(204).end());
    const target = targetAt(forge.url);
    const rows = (await target.runners(never)).items;
    expect(rows).toHaveLength(51);
    expect(rows[0]).toEqual({ target: target.key, row: 1, name: "vm-1", online: true, ephemeral: true });
    await target.deleteRunner(9, never);
    await target.deleteRunner(10, never);
    expect(forge.count(`DELETE ${RUNNERS}/10`)).toBe(1);
  });

  it("disables from 1.26 on, and does nothing before", async () => {
    const old = await gitea("1.25.4");
    await targetAt(old.url).disableRunner(3, never);
    expect(old.seen.map(({ method }) => method)).toEqual(["GET"]);
    const forge = await gitea("1.26.0+dev-123-gabcdef");
    let body = "";
    forge.on(`PATCH ${RUNNERS}/3`, (request, response) => {
      body = request.body.toString();
      json(response, 200, { id: 3 });
    });
    await targetAt(forge.url).disableRunner(3, never);
    expect(JSON.parse(body)).toEqual({ disabled: true });
  });

  it("switches off an optional feature that the token has no right for, with one warning", async () => {
    const forge = await gitea("1.26.1");
    const message =
      "token does not have at least one of required scope(s), required=[write:organization], token scope=read:organization";
    forge.on(`PATCH ${RUNNERS}/3`, (_, response) => json(response, 403, { message, url: "" }));
    forge.on(`GET ${RUNNERS}`, (_, response) =>
      json(response, 403, { message: "must be an organization owner", url: "" }),
    );
    const { log, lines } = readableLog();
    let ahead = 0;
    const clock = { ...systemClock, uptime: () => systemClock.uptime() + ahead };
    const target = targetAt(forge.url, { log, clock });
    await target.disableRunner(3, never);
    await target.disableRunner(3, never);
    expect(forge.count(`PATCH ${RUNNERS}/3`)).toBe(1);
    expect(lines().filter(({ level }) => level === "warn")).toHaveLength(1);
    expect(await failureOf(target.runners(never))).toMatchObject({ code: "FORGE_FORBIDDEN" });
    expect(await target.capabilities(never)).toMatchObject({
      disablesRunners: false,
      listsRunners: false,
      deletesRunners: true,
    });
    ahead = 11 * 60_000;
    expect(await target.capabilities(never)).toMatchObject({ disablesRunners: true, listsRunners: true });
  });
});

describe("register", () => {
  it("registers an ephemeral runner from the host, with one token request for many runners", async () => {
    const forge = await gitea();
    const behaviour = withRegister(forge);
    const target = targetAt(forge.url);
    const request = { name: "vm-1", labels: ["ubuntu:host", "gpu", "x:docker://debian:12"] };
    const all = await Promise.all(Array.from({ length: 5 }, async () => await target.register(request, never)));
    expect(all.map(({ row }) => row).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5]);
    expect(all[0]).toMatchObject({
      uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
      token: expect.stringMatching(/^runner-secret-/),
    });
    expect(behaviour.registered[0]).toMatchObject({ name: "vm-1", labels: ["ubuntu", "gpu", "x"], ephemeral: true });
    expect(forge.count(`POST ${RUNNERS}/registration-token`)).toBe(1);
    expect(forge.seen.find(({ path }) => path.startsWith("/api/actions/"))?.headers.authorization).toBeUndefined();
  });

  it("fetches the token again when the forge replaced it", async () => {
    const forge = await gitea();
    const behaviour = withRegister(forge);
    const target = targetAt(forge.url);
    await target.register({ name: "a", labels: [] }, never);
    behaviour.accepted = new Set(["registration-token-2"]);
    await target.register({ name: "b", labels: [] }, never);
    expect(forge.count(`POST ${RUNNERS}/registration-token`)).toBe(2);
    behaviour.accepted = new Set();
    forge.on(`POST ${RUNNERS}/registration-token`, (_, response) =>
      json(response, 200, { token: "registration-token-9" }),
    );
    expect(await failureOf(target.register({ name: "c", labels: [] }, never))).toMatchObject({
      code: "FORGE_UNAUTHORIZED",
      message: expect.not.stringContaining("registration-token-9"),
    });
  });

  it("deletes the row of a forge that ignores ephemeral, unless that is allowed", async () => {
    const forge = await gitea();
    withRegister(forge, false);
    forge.on(`DELETE ${RUNNERS}/1`, (_, response) => response.writeHead(204).end());
    const request = { name: "vm", labels: [] };
    expect(await failureOf(targetAt(forge.url).register(request, never))).toMatchObject({
      code: "FORGE_NOT_EPHEMERAL",
    });
    expect(forge.count(`DELETE ${RUNNERS}/1`)).toBe(1);
    expect(await failureOf(targetAt(forge.url).register(request, never))).toMatchObject({
      code: "FORGE_NOT_EPHEMERAL",
    });
    expect(forge.count(`DELETE ${RUNNERS}/2`)).toBe(1);
    forge.on(`DELETE ${RUNNERS}/3`, (_, response) => json(response, 403, { message: "no" }));
    expect((await failureOf(targetAt(forge.url).register(request, never))).message).toContain(
      "its row 3 (vm) is still there",
    );
    const allowed = targetAt(forge.url, { allowPersistentRegistration: true });
    expect(await allowed.register(request, never)).toMatchObject({ row: 4 });
  });

  it("makes no row at all where the version has no ephemeral runners", async () => {
    const forge = await gitea("1.23.1");
    const behaviour = withRegister(forge);
    expect(await failureOf(targetAt(forge.url).register({ name: "vm", labels: [] }, never))).toMatchObject({
      code: "FORGE_NOT_EPHEMERAL",
      hint: expect.stringContaining("Gitea 1.24"),
    });
    expect(behaviour.registered).toEqual([]);
  });

  it("never sends a registration twice when the answer is lost", async () => {
    const forge = await gitea();
    withRegister(forge);
    forge.on(REGISTER_ROUTE, (_, response) => response.destroy());
    expect(await failureOf(targetAt(forge.url).register({ name: "vm", labels: [] }, never))).toMatchObject({
      code: "FORGE_UNREACHABLE",
      facts: { sent: true },
    });
    expect(forge.count(REGISTER_ROUTE)).toBe(1);
  });
});

describe("scopes", () => {
  const cases: [ForgeScope, string, string][] = [
    [
      { kind: "instance" },
      "/api/v1/admin/actions/runners/registration-token",
      "/api/v1/admin/runners/registration-token",
    ],
    [
      { kind: "user" },
      "/api/v1/user/actions/runners/registration-token",
      "/api/v1/user/actions/runners/registration-token",
    ],
    [
      { kind: "repo", owner: "acme", repo: "app" },
      "/api/v1/repos/acme/app/actions/runners/registration-token",
      "/api/v1/repos/acme/app/actions/runners/registration-token",
    ],
  ];
  it.each(cases)("asks for the token of %o by POST, then by GET where that is older", async (scope, post, get) => {
    const forge = await gitea("1.24.0");
    const behaviour: RegisterBehaviour = {
      accepted: new Set(["registration-token-1"]),
      ephemeralEcho: true,
      registered: [],
    };
    serveRegister(forge, behaviour);
    forge.on(`GET ${get}`, (_, response) => json(response, 200, { token: "registration-token-1" }));
    await targetAt(forge.url, { scope }).register({ name: "vm", labels: [] }, never);
    expect(forge.count(`POST ${post}`)).toBe(1);
    expect(forge.count(`GET ${get}`)).toBe(1);
    expect(behaviour.registered).toHaveLength(1);
  });
});
