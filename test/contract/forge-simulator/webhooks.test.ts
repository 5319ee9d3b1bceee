import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { HELLO, type Rig, rig, runnerAt } from "./support.ts";

interface Seen {
  headers: IncomingHttpHeaders;
  raw: string;
  // Tests look into payloads of many shapes.
  payload: ReturnType<typeof JSON.parse>;
}

/** A receiver that answers with a status; 0 never answers. */
async function receiver(status = 200) {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const raw = Buffer.concat(parts).toString("utf8");
    const json = raw.startsWith("payload=") ? decodeURIComponent(raw.slice("payload=".length)) : raw;
    seen.push({ headers: request.headers, raw, payload: JSON.parse(json) });
    if (status !== 0) response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks/forge` };
}

async function hook(made: Rig, url: string, options: { place?: string; events?: string[]; config?: object } = {}) {
  const { place = "/repos/acme/site", events = ["workflow_job"], config = {} } = options;
  const { status, body } = await made.call("POST", `${place}/hooks`, {
    type: "gitea",
    active: true,
    events,
    config: { url, content_type: "json", secret: "s3cret", ...config },
    authorization_header: "Bearer hook",
  });
  expect(status).toBe(201);
  return body;
}

async function oneJob(made: Rig) {
  const run = await made.forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
  const runner = await runnerAt(made.forge);
  const task = await runner.fetch();
  await runner.report(task?.id ?? 0n, Result.SUCCESS);
  await made.forge.webhooks.idle();
  return run;
}

describe("workflow_job webhooks", () => {
  it("tell of a job's life with all headers and a signature over the raw bytes", async () => {
    const made = await rig();
    const { seen, url } = await receiver();
    await hook(made, url);
    await oneJob(made);
    const sorted = seen.toSorted((a, b) => statusRank(a) - statusRank(b));
    expect(sorted.map((one) => one.payload.action)).toEqual(["queued", "in_progress", "completed"]);
    const { headers, raw, payload } = sorted[1] as Seen;
    const signature = createHmac("sha256", "s3cret").update(raw).digest("hex");
    expect(headers).toMatchObject({
      "content-type": "application/json",
      authorization: "Bearer hook",
      "x-gitea-event": "workflow_job",
      "x-gitea-event-type": "workflow_job",
      "x-gitea-signature": signature,
      "x-hub-signature-256": `sha256=${signature}`,
      "x-hub-signature": `sha1=${createHmac("sha1", "s3cret").update(raw).digest("hex")}`,
      "x-gogs-event": "workflow_job",
      "x-gogs-signature": signature,
      "x-github-event": "workflow_job",
      "x-gitea-hook-installation-target-type": "repository",
    });
    expect(headers["x-gitea-delivery"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers["x-github-delivery"]).toBe(headers["x-gitea-delivery"]);
    expect(payload).toMatchObject({
      workflow_job: { status: "in_progress", labels: ["ubuntu"], runner_name: "vm-1" },
      repository: { full_name: "acme/site" },
      organization: { login: "acme" },
    });
  });

  it("name a blocked job waiting", async () => {
    const made = await rig();
    const { seen, url } = await receiver();
    await hook(made, url);
    const yaml = "jobs: { a: { runs-on: x, steps: [] }, b: { runs-on: x, needs: a, steps: [] } }";
    await made.forge.pushWorkflow({ repository: "acme/site", yaml });
    await made.forge.webhooks.idle();
    expect(seen.map((one) => `${one.payload.workflow_job.name} ${one.payload.action}`).sort()).toEqual([
      "a queued",
      "b waiting",
    ]);
  });

  it("are sent once, whatever the receiver answers, and again only by hand", async () => {
    const made = await rig();
    const { seen, url } = await receiver(500);
    await hook(made, url);
    await oneJob(made);
    expect(seen).toHaveLength(3);
    const [first] = made.forge.webhooks.deliveries();
    expect(first?.status).toBe(500);
    await made.forge.webhooks.redeliver(first?.id ?? "");
    expect(seen).toHaveLength(4);
    expect(seen[3]?.raw).toBe(first?.body);
    expect(seen[3]?.headers["x-gitea-delivery"]).toBe(first?.id);
  });

  it("can repeat completed and arrive out of order", async () => {
    const made = await rig({ behaviours: { completedTimes: 2 } });
    const { seen, url } = await receiver();
    await hook(made, url);
    made.forge.webhooks.hold(true);
    await oneJob(made);
    expect(seen).toHaveLength(0);
    made.forge.webhooks.hold(false);
    await made.forge.webhooks.idle();
    expect(seen.filter((one) => one.payload.action === "completed")).toHaveLength(2);
    expect(made.forge.webhooks.deliveries().map((one) => one.action)).toEqual([
      "queued",
      "in_progress",
      "completed",
      "completed",
    ]);
  });

  it("have empty signatures without a secret, and sign the JSON inside a form", async () => {
    const made = await rig();
    const plain = await receiver();
    await hook(made, plain.url, { config: { secret: "" } });
    const form = await receiver();
    await hook(made, form.url, { config: { content_type: "form" } });
    await made.forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
    await made.forge.webhooks.idle();
    expect(plain.seen[0]?.headers).toMatchObject({
      "x-gitea-signature": "",
      "x-hub-signature": "sha1=",
      "x-hub-signature-256": "sha256=",
    });
    const inner = decodeURIComponent(form.seen[0]?.raw.slice("payload=".length) ?? "");
    expect(form.seen[0]?.headers["x-gitea-signature"]).toBe(createHmac("sha256", "s3cret").update(inner).digest("hex"));
  });

  it("fire for their scope only, and from the instance only as system hooks", async () => {
    const made = await rig();
    await made.forge.addRepository("root/own");
    const counts: Record<string, Seen[]> = {};
    for (const place of ["/admin", "/orgs/acme", "/user"]) {
      const { seen, url } = await receiver();
      counts[place] = seen;
      await hook(made, url, { place });
    }
    const system = await receiver();
    await hook(made, system.url, { place: "/admin", config: { is_system_webhook: "true" } });
    await made.forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
    await made.forge.webhooks.idle();
    expect(counts["/orgs/acme"]).toHaveLength(1);
    expect(counts["/user"]).toHaveLength(0);
    expect(counts["/admin"]).toHaveLength(0);
    expect(system.seen[0]?.headers["x-gitea-hook-installation-target-type"]).toBe("system");
  });

  it("are refused for private addresses where only external ones are allowed", async () => {
    const made = await rig({ behaviours: { externalHooksOnly: true } });
    const { seen, url } = await receiver();
    await hook(made, url);
    await made.forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
    await made.forge.webhooks.idle();
    expect(seen).toHaveLength(0);
    expect(made.forge.webhooks.deliveries()[0]).toMatchObject({ status: -1, error: expect.stringContaining("deny") });
  });

  it("do not keep a closing forge waiting for a silent receiver", async () => {
    const made = await rig();
    const { seen, url } = await receiver(0);
    await hook(made, url);
    await made.forge.pushWorkflow({ repository: "acme/site", yaml: HELLO });
    await expect.poll(() => seen.length, { timeout: 5000 }).toBe(1);
    const started = performance.now();
    await made.forge.close();
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it("come with workflow_run from 1.25 on", async () => {
    for (const [version, events] of [
      ["1.24.0", []],
      ["1.25.1", ["completed", "in_progress", "requested"]],
    ] as const) {
      const made = await rig({ version });
      const { seen, url } = await receiver();
      await hook(made, url, { events: ["workflow_run"] });
      await oneJob(made);
      expect(new Set(seen.map((one) => one.payload.action))).toEqual(new Set(events));
    }
  });

  it("do not exist on Forgejo, whose push hooks can only tell that something happened", async () => {
    const made = await rig({ flavour: "forgejo", version: "15.0.0+gitea-1.22.0" });
    const { seen, url } = await receiver();
    await hook(made, url, { events: ["workflow_job", "workflow_run", "push"] });
    const run = await oneJob(made);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers).toMatchObject({ "x-forgejo-event": "push", "x-gitea-event": "push" });
    expect(seen[0]?.headers["x-forgejo-signature"]).toBe(seen[0]?.headers["x-gitea-signature"]);
    expect(seen[0]?.payload).toMatchObject({ ref: "refs/heads/main", after: run.sha });
  });
});

describe("hooks over REST", () => {
  it.each([
    [{ type: "smoke", config: { url: "http://x", content_type: "json" } }, "Invalid hook type: smoke"],
    [{ type: "gitea", config: { content_type: "json" } }, "Missing config option: url"],
    [{ type: "gitea", config: { url: "http://x" } }, "Missing config option: content_type"],
    [{ type: "gitea", config: { url: "http://x", content_type: "xml" } }, "Invalid content type"],
    [{ type: "gitea", config: { url: "ftp://x", content_type: "json" } }, "Invalid url"],
  ])("refuses %j", async (body, message) => {
    const { call } = await rig();
    expect(await call("POST", "/orgs/acme/hooks", body)).toMatchObject({ status: 422, body: { message } });
  });

  it("means push when no event is named, is listed with a count, and can be deleted", async () => {
    const made = await rig();
    const { id, events, config } = await hook(made, "http://127.0.0.1:1/", { events: [] });
    expect(events).toEqual(["push"]);
    expect(config).not.toHaveProperty("secret");
    const list = await made.get("/repos/acme/site/hooks");
    expect(list.headers.get("x-total-count")).toBe("1");
    expect((await made.get("/orgs/acme/hooks")).body).toEqual([]);
    expect((await made.call("DELETE", `/orgs/acme/hooks/${id}`)).status).toBe(404);
    expect((await made.call("DELETE", `/repos/acme/site/hooks/${id}`)).status).toBe(204);
    expect((await made.get("/repos/acme/site/hooks")).body).toEqual([]);
  });
});

const statusRank = (one: Seen): number => ["waiting", "queued", "in_progress", "completed"].indexOf(one.payload.action);
