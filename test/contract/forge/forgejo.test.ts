import { describe, expect, it } from "vitest";
import {
  json,
  type RegisterBehaviour,
  type StrictForge,
  serveRegister,
  startStrictForge,
} from "../../support/strict-forge.ts";
import { closeLater, failureOf, never, targetAt } from "./harness.ts";

const RUNNERS = "/api/v1/orgs/acme/actions/runners";
const forgejo = async (version: string): Promise<StrictForge> =>
  closeLater(await startStrictForge({ version: `${version}+gitea-1.22.0` }));

describe("the queue", () => {
  it("takes null for an empty list, and asks without labels from 15 on", async () => {
    const forge = await forgejo("15.0.1");
    forge.on(`GET ${RUNNERS}/jobs`, (_, response) => json(response, 200, null));
    expect((await targetAt(forge.url).jobs(["ubuntu"], never)).items).toEqual([]);
    expect(forge.seen.at(-1)?.query.has("labels")).toBe(false);
  });

  it("passes all labels before 15, and uses the older place at an instance", async () => {
    const forge = await forgejo("11.0.3");
    forge.on("GET /api/v1/admin/runners/jobs", (_, response) => json(response, 200, []));
    const target = targetAt(forge.url, { scope: { kind: "instance" } });
    await target.jobs(["ubuntu", "gpu"], never);
    expect(forge.seen.at(-1)?.query.get("labels")).toBe("ubuntu,gpu");
    const newer = await forgejo("16.0.0");
    newer.on("GET /api/v1/admin/actions/runners/jobs", (_, response) => json(response, 200, []));
    await targetAt(newer.url, { scope: { kind: "instance" } }).jobs([], never);
    expect(newer.count("GET /api/v1/admin/actions/runners/jobs")).toBe(1);
  });

  it("keeps the handle and the attempt", async () => {
    const forge = await forgejo("15.0.0");
    const handle = "0b0f3b5e-0000-4000-8000-000000000001";
    forge.on(`GET ${RUNNERS}/jobs`, (_, response) =>
      json(response, 200, [
        {
          id: 5,
          name: "build",
          runs_on: ["ubuntu"],
          status: "waiting",
          attempt: 2,
          handle,
          html_url: `${forge.url}/acme/app/actions/runs/1`,
          task_id: 0,
        },
        { id: 6, name: "test", runs_on: null, status: "running", task_id: 9 },
        { id: 7, name: "later", runs_on: [], status: "blocked" },
        { id: 8, runs_on: [], status: "waiting", handle: "../../etc" },
      ]),
    );
    const target = targetAt(forge.url);
    expect((await target.jobs([], never)).items).toEqual([
      {
        key: `${target.key}/5/2`,
        target: target.key,
        id: 5,
        attempt: 2,
        handle,
        name: "build",
        labels: ["ubuntu"],
        status: "queued",
        repository: "acme/app",
        url: `${forge.url}/acme/app/actions/runs/1`,
      },
      { key: `${target.key}/6/1`, target: target.key, id: 6, attempt: 1, name: "test", labels: [], status: "running" },
    ]);
  });

  it("is not there before 11", async () => {
    const target = targetAt((await forgejo("10.0.0")).url);
    expect(await failureOf(target.jobs([], never))).toMatchObject({ code: "FORGE_UNSUPPORTED" });
  });
});

describe("runners", () => {
  it("lists all pages by the header's count, and only the instance's own at the instance", async () => {
    const forge = await forgejo("14.0.0");
    forge.on("GET /api/v1/admin/actions/runners", (request, response) => {
      const page = Number(request.query.get("page"));
      const one = (id: number, more: object = {}): object => ({
        id,
        uuid: `uuid-${id}`,
        name: `vm-${id}`,
        status: "idle",
        owner_id: 0,
        repo_id: 0,
        labels: [],
        ...more,
      });
      const all = [
        one(1),
        one(2, { status: "offline" }),
        one(3, { owner_id: 4 }),
        one(4, { ephemeral: true, status: "active", description: "Fireteact: one job handle-9" }),
        one(5, { description: "made by hand, handle-9" }),
      ];
      json(response, 200, all.slice((page - 1) * 2, page * 2), { "x-total-count": "5" });
    });
    const target = targetAt(forge.url, { scope: { kind: "instance" } });
    expect((await target.runners(never)).items).toEqual([
      { target: target.key, row: 1, name: "vm-1", uuid: "uuid-1", online: true },
      { target: target.key, row: 2, name: "vm-2", uuid: "uuid-2", online: false },
      {
        target: target.key,
        row: 4,
        name: "vm-4",
        uuid: "uuid-4",
        online: true,
        ephemeral: true,
        busy: true,
        handle: "handle-9",
      },
      { target: target.key, row: 5, name: "vm-5", uuid: "uuid-5", online: true },
    ]);
    expect(forge.count("GET /api/v1/admin/actions/runners")).toBe(3);
  });

  it("creates an ephemeral runner by REST from 15 on and keeps the job's handle", async () => {
    const forge = await forgejo("15.0.0-dev-100-gabc");
    let body: unknown;
    forge.on(`POST ${RUNNERS}`, (request, response) => {
      body = JSON.parse(request.body.toString());
      json(response, 201, { id: 7, uuid: "0b0f3b5e-0000-4000-8000-000000000007", token: "runner-secret" });
    });
    const target = targetAt(forge.url);
    expect(await target.capabilities(never)).toMatchObject({
      bindsJobs: true,
      createsRunners: true,
      disablesRunners: false,
    });
    expect(await target.register({ name: "vm", labels: ["x:host"], handle: "job-1" }, never)).toEqual({
      row: 7,
      uuid: "0b0f3b5e-0000-4000-8000-000000000007",
      token: "runner-secret",
      handle: "job-1",
    });
    expect(body).toEqual({ name: "vm", ephemeral: true, description: "Fireteact: one job job-1" });
    await target.disableRunner(7, never);
    await target.deleteRunner(7, never);
    expect(forge.seen.at(-1)).toMatchObject({ method: "DELETE", path: `${RUNNERS}/7` });
  });

  it("deletes a created runner that the forge calls lasting", async () => {
    const forge = await forgejo("15.0.0");
    forge.on(`POST ${RUNNERS}`, (_, response) =>
      json(response, 201, {
        id: 7,
        uuid: "0b0f3b5e-0000-4000-8000-000000000007",
        token: "runner-secret",
        ephemeral: false,
      }),
    );
    expect(await failureOf(targetAt(forge.url).register({ name: "vm", labels: [] }, never))).toMatchObject({
      code: "FORGE_NOT_EPHEMERAL",
    });
    expect(forge.count(`DELETE ${RUNNERS}/7`)).toBe(1);
  });

  it("registers by the runner protocol before 15, only where lasting runners are allowed", async () => {
    const forge = await forgejo("13.0.2");
    const behaviour: RegisterBehaviour = {
      accepted: new Set(["registration-token"]),
      ephemeralEcho: false,
      registered: [],
    };
    serveRegister(forge, behaviour);
    forge.on(`GET ${RUNNERS}/registration-token`, (_, response) =>
      json(response, 200, { token: "registration-token" }),
    );
    const request = { name: "vm", labels: ["x:host"] };
    expect(await failureOf(targetAt(forge.url).register(request, never))).toMatchObject({
      code: "FORGE_NOT_EPHEMERAL",
    });
    expect(behaviour.registered).toEqual([]);
    const allowed = targetAt(forge.url, { allowPersistentRegistration: true });
    expect(await allowed.register(request, never)).toMatchObject({ row: 1 });
    expect(await failureOf(allowed.runners(never))).toMatchObject({ code: "FORGE_UNSUPPORTED" });
  });
});
