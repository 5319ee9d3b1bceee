import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { HELLO, type Rig, rig, runnerAt } from "./support.ts";

type Shape = string | null | [Shape];
interface Shapes {
  /** `GET /admin/hooks` to its good answer. */
  answers: Record<string, { status: number; shape: Shape }>;
  shapes: Record<string, Record<string, Shape>>;
}
const { answers, shapes } = JSON.parse(
  readFileSync(new URL("fixtures/gitea-shapes.json", import.meta.url), "utf8"),
) as Shapes;

/** Fields that an answer may leave out; every other field of these shapes must be there. */
const OPTIONAL: Record<string, string[]> = {
  ActionRunner: [],
  ActionRunnersResponse: [],
  ActionRunnerLabel: [],
  ActionWorkflowJobsResponse: [],
  ActionWorkflowJob: ["conclusion", "head_branch", "runner_id", "runner_name"],
  ActionWorkflowStep: ["conclusion"],
  ActionWorkflowRunsResponse: [],
  ActionWorkflowRun: ["conclusion", "head_branch"],
  Hook: [],
};

/** What does not conform, one line each. */
function differences(value: unknown, shape: Shape, at = "$"): string[] {
  if (shape === null) return value === "" ? [] : [`${at}: not empty`];
  if (Array.isArray(shape)) {
    if (value === null) return [];
    if (!Array.isArray(value)) return [`${at}: not an array`];
    return value.flatMap((item, index) => differences(item, shape[0], `${at}[${index}]`));
  }
  if (shape === "time")
    return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(String(value)) ? [] : [`${at}: not a time: ${String(value)}`];
  if (shape === "integer") return Number.isInteger(value) ? [] : [`${at}: not an integer`];
  if (!shape.startsWith("@")) return typeof value === shape ? [] : [`${at}: ${typeof value}, not ${shape}`];
  const name = shape.slice(1);
  const fields = shapes[name] ?? {};
  const given = value as Record<string, unknown>;
  const optional = OPTIONAL[name] ?? Object.keys(fields);
  return [
    ...Object.keys(fields)
      .filter((field) => !(field in given) && !optional.includes(field))
      .map((field) => `${at}.${field}: missing`),
    ...Object.entries(given).flatMap(([field, inner]) =>
      field in fields
        ? differences(inner, fields[field] ?? null, `${at}.${field}`)
        : [`${at}.${field}: unknown in ${name}`],
    ),
  ];
}

/** One job done, one running, one queued, one blocked, and a hook at every place. */
async function world(options: Parameters<typeof rig>[0] = {}): Promise<Rig & { ids: Record<string, number> }> {
  const made = await rig(options);
  const { forge, call } = made;
  await forge.addRepository("root/own");
  const ids: Record<string, number> = {};
  for (const scope of ["", "acme", "root", "acme/site"]) {
    ids[`runner ${scope}`] = (await runnerAt(forge, { scope, ephemeral: false, labels: ["ubuntu", "big"] })).id;
  }
  const site = await runnerAt(forge, { scope: "acme/site" });
  const first = await forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
  const task = await site.fetch();
  await site.report(task?.id ?? 0n, Result.FAILURE);
  ids["run"] = first.id;
  ids["job"] = first.job("hello").id;
  await forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
  await (await runnerAt(forge, { scope: "acme" })).fetch();
  await forge.pushWorkflow({
    repository: "acme/site",
    ref: "refs/tags/v1",
    yaml: "jobs: { a: { steps: [] }, b: { needs: [a], runs-on: [x, y], steps: [] } }",
  });
  for (const place of ["/admin", "/orgs/acme", "/user", "/repos/acme/site"]) {
    const config = { url: "http://127.0.0.1:1/hook", content_type: "json", secret: "s" };
    const hook = await call("POST", `${place}/hooks`, { type: "gitea", config, events: ["workflow_job"] });
    ids[`hook ${place}`] = hook.body.id;
  }
  return { ...made, ids };
}

describe("answers of Gitea 1.25", () => {
  it.each(["GET", "POST", "DELETE"])("%s conforms to the API description everywhere", async (method) => {
    const { call, ids } = await world();
    const operations = Object.keys(answers).filter((operation) => operation.startsWith(`${method} `));
    expect(operations.length).toBeGreaterThan(3);
    for (const operation of operations) {
      const template = operation.slice(method.length + 1);
      const place = /^\/(admin|orgs\/\{org\}|user|repos\/\{owner\}\/\{repo\})/.exec(template)?.[0] ?? "";
      const real =
        { "": "", "/admin": "/admin", "/orgs/{org}": "/orgs/acme", "/user": "/user" }[place] ?? "/repos/acme/site";
      const scope = { "/admin": "", "/orgs/{org}": "acme", "/user": "root" }[place] ?? "acme/site";
      const path = template
        .replace(place, real)
        .replace("{runner_id}", String(ids[`runner ${scope}`]))
        .replace("{job_id}", String(ids["job"]))
        .replace("{run}", String(ids["run"]))
        .replace("{id}", String(ids[`hook ${real}`]));
      const config = { url: "http://127.0.0.1:1/other", content_type: "json" };
      const body = method === "POST" ? { type: "gitea", config, events: ["push"], active: true } : undefined;
      const answer = await call(method, path, body);
      const wanted = answers[operation];
      expect({
        operation,
        status: answer.status,
        differences: differences(answer.body, wanted?.shape ?? null),
      }).toEqual({ operation, status: wanted?.status, differences: [] });
    }
  });

  it("the validator sees what is wrong", () => {
    expect(differences({ version: 1 }, "@ServerVersion")).toEqual(["$.version: number, not string"]);
    expect(differences({ runners: [{}], more: 1, total_count: 1.5 }, "@ActionRunnersResponse")).toHaveLength(8);
  });

  it("maps states, conclusions and unset values as documented", async () => {
    const { get } = await world();
    const jobs = (await get("/repos/acme/site/actions/jobs")).body.jobs;
    const by = (status: string) => jobs.filter((job: { status: string }) => job.status === status);
    expect(by("completed")[0]).toMatchObject({ conclusion: "failure", head_branch: "main", labels: ["ubuntu"] });
    expect(by("completed")[0].steps[0]).toMatchObject({ status: "completed", conclusion: "failure" });
    expect(by("in_progress")[0]).toMatchObject({ runner_name: "vm-1", completed_at: "1970-01-01T00:00:00Z" });
    expect(by("queued")[0]).toMatchObject({ labels: null, steps: null, started_at: "1970-01-01T00:00:00Z" });
    expect(by("queued")[0]).not.toHaveProperty("runner_id");
    expect(by("queued")[0]).not.toHaveProperty("conclusion");
    expect(by("waiting")[0]).toMatchObject({ labels: ["x", "y"], name: "b" });
    expect(by("waiting")[0]).not.toHaveProperty("head_branch");
  });

  it.each([
    ["queued", 1],
    ["waiting", 1],
    ["pending", 1],
    ["in_progress", 1],
    ["completed", 1],
    ["failure", 1],
    ["success", 0],
    ["queued&status=in_progress", 2],
  ])("filters by status=%s", async (words, count) => {
    const { get } = await world();
    for (const place of ["/admin", "/orgs/acme", "/repos/acme/site"]) {
      const { body } = await get(`${place}/actions/jobs?status=${words}&limit=1`);
      expect(body.total_count).toBe(count);
      expect(body.jobs).toHaveLength(Math.min(count, 1));
    }
    expect((await get(`/user/actions/jobs?status=${words}`)).body).toEqual({ jobs: [], total_count: 0 });
  });

  it("refuses an unknown status", async () => {
    const { get } = await rig();
    const { status, body } = await get("/admin/actions/jobs?status=sleeping");
    expect(status).toBe(400);
    expect(body.message).toBe("Invalid status sleeping");
  });
});

describe("runners", () => {
  it("are listed at exactly their scope, and all of them for the instance", async () => {
    const { get } = await world();
    const count = async (place: string) => (await get(`${place}/actions/runners`)).body.total_count;
    expect(await count("/admin")).toBe(5);
    expect(await count("/orgs/acme")).toBe(2);
    expect(await count("/user")).toBe(1);
    expect(await count("/repos/acme/site")).toBe(1);
  });

  it("say why they cannot be had", async () => {
    const { get, ids } = await world();
    const foreign = await get(`/orgs/acme/actions/runners/${ids["runner acme/site"]}`);
    expect(foreign).toMatchObject({ status: 404, body: { message: "No permission to access this runner" } });
    const unknown = await get("/admin/actions/runners/999");
    expect(unknown).toMatchObject({ status: 404, body: { message: "Runner not found", errors: null } });
  });

  it("are paged with a limit of at most 50", async () => {
    const { forge, get } = await rig();
    for (let n = 0; n < 60; n++) await runnerAt(forge, { name: `vm-${n}` });
    const page = async (query: string) => (await get(`/admin/actions/runners?${query}`)).body.runners.length;
    expect(await page("")).toBe(30);
    expect(await page("limit=1000")).toBe(50);
    expect(await page("limit=50&page=2")).toBe(10);
    expect(await page("limit=50&page=3")).toBe(0);
  });

  it("drift between pages when asked to", async () => {
    const { forge, get } = await rig({ behaviours: { pageDrift: true } });
    for (let n = 0; n < 6; n++) await runnerAt(forge);
    const ids = async (page: number) =>
      (await get(`/admin/actions/runners?limit=3&page=${page}`)).body.runners.map((row: { id: number }) => row.id);
    const seen = [...(await ids(1)), ...(await ids(2))];
    expect(seen).toHaveLength(6);
    expect(new Set(seen).size).toBeLessThan(6);
  });
});

describe("rights", () => {
  it("needs a token, a known one, and the category's scope", async () => {
    const { forge, get, call } = await rig();
    expect(await get("/admin/actions/jobs", "")).toMatchObject({ status: 401, body: { message: "token is required" } });
    expect((await get("/admin/actions/jobs", "0".repeat(40))).status).toBe(401);
    const reader = forge.addToken("root", ["read:repository"]);
    expect((await get("/repos/acme/site/actions/jobs", reader)).status).toBe(200);
    const admin = await get("/admin/actions/jobs", reader);
    expect(admin.status).toBe(403);
    expect(admin.body.message).toContain("required=[read:admin]");
    const write = await call("POST", "/repos/acme/site/actions/runners/registration-token", undefined, reader);
    expect(write.status).toBe(403);
    expect(write.body.message).toContain("required=[write:repository]");
  });

  it("needs the role besides", async () => {
    const { forge, get } = await rig();
    forge.addUser("guest");
    const guest = forge.addToken("guest", ["all"]);
    expect((await get("/admin/actions/runners", guest)).status).toBe(403);
    expect((await get("/orgs/acme/actions/runners", guest)).status).toBe(403);
    expect((await get("/repos/acme/site/actions/runners", guest)).status).toBe(403);
    expect((await get("/repos/acme/site/actions/jobs", guest)).status).toBe(200);
    expect((await get("/user/actions/runners", guest)).status).toBe(200);
    await forge.addRepository("acme/hidden", { private: true });
    expect((await get("/repos/acme/hidden/actions/jobs", guest)).status).toBe(404);
    expect((await get("/orgs/nobody/actions/jobs")).status).toBe(404);
  });
});

describe("versions", () => {
  const place = "/orgs/acme/actions";
  const table = [
    { version: "1.22.6", get: 200, post: 405, runners: 404, jobs: 404, patch: 404, echo: false },
    { version: "1.24.0", get: 200, post: 200, runners: 200, jobs: 404, patch: 405, echo: true },
    { version: "1.25.1", get: 200, post: 200, runners: 200, jobs: 200, patch: 405, echo: true },
    { version: "1.26.0+dev-1-gabc", get: 404, post: 200, runners: 200, jobs: 200, patch: 200, echo: true },
    { version: "28.0.0", get: 404, post: 200, runners: 200, jobs: 200, patch: 200, echo: true },
  ];
  it.each(table)("$version", async ({ version, get: read, post, runners, jobs, patch, echo }) => {
    const { forge, get, call } = await rig({ version });
    expect((await get("/version", "")).body).toEqual({ version });
    expect((await fetch(`${forge.url}/api/forgejo/v1/version`)).status).toBe(404);
    expect((await get(`${place}/runners/registration-token`)).status).toBe(read);
    expect((await call("POST", `${place}/runners/registration-token`)).status).toBe(post);
    expect((await get("/admin/runners/registration-token")).status).toBe(read);
    expect((await get(`${place}/runners`)).status).toBe(runners);
    expect((await get(`${place}/jobs`)).status).toBe(jobs);
    const runner = await runnerAt(forge, { scope: "acme" });
    expect(forge.runners("existing")[0]?.ephemeral).toBe(echo);
    expect((await call("PATCH", `${place}/runners/${runner.id}`, { disabled: true })).status).toBe(patch);
  });

  it("keeps a disabled runner online but without tasks", async () => {
    const { forge, call, get } = await rig({ version: "1.26.0" });
    const runner = await runnerAt(forge);
    await call("PATCH", `/admin/actions/runners/${runner.id}`, { disabled: true });
    await forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
    expect(await runner.fetch()).toBeUndefined();
    expect((await get("/admin/actions/runners?disabled=true")).body.runners[0]).toMatchObject({ status: "online" });
    expect((await get("/admin/actions/runners?disabled=false")).body.total_count).toBe(0);
    expect((await call("PATCH", `/admin/actions/runners/${runner.id}`, {})).status).toBe(422);
    await call("PATCH", `/admin/actions/runners/${runner.id}`, { disabled: false });
    runner.version = 0n;
    expect(await runner.fetch()).toBeDefined();
  });

  it("gives the same registration token until it is reset", async () => {
    const { forge, call } = await rig();
    const token = async () => (await call("POST", "/user/actions/runners/registration-token")).body.token;
    const first = await token();
    expect(first).toMatch(/^[0-9a-f]{40}$/);
    expect(await token()).toBe(first);
    expect(forge.resetRegistrationToken("root")).toBe(await token());
    expect(await token()).not.toBe(first);
  });
});
