import { describe, expect, it } from "vitest";
import type { ForgeScope } from "../../../src/core/types.ts";
import { checkRights } from "../../../src/forge/check.ts";
import type { ForgeTargetOptions } from "../../../src/forge/create.ts";
import type { ForgeTarget } from "../../../src/forge/port.ts";
import { createWebhookReader } from "../../../src/forge/webhook.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../../src/forge-simulator/simulator.ts";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";
import { closeLater, failureOf, never, targetAt } from "./harness.ts";

/** Two jobs that may run at once, and one that has to wait for the first. */
const WORKFLOW = `
on: push
jobs:
  build:
    runs-on: [linux, gpu]
    steps: [{ run: "true" }]
  lint:
    runs-on: linux
    steps: [{ run: "true" }]
  deploy:
    needs: build
    runs-on: linux
    steps: [{ run: "true" }]
`;

interface Place {
  forge: ForgeSimulator;
  at: (scope: ForgeScope, options?: Partial<ForgeTargetOptions>) => ForgeTarget;
}

async function place(options: Partial<ForgeSimulatorOptions>): Promise<Place> {
  const forge = closeLater(
    await createForgeSimulator({ flavour: "gitea", version: "1.25.1", basePath: "/git", ...options }),
  );
  forge.addUser("root", { admin: true });
  forge.addOrganization("acme", { owners: ["root"] });
  await forge.addRepository("acme/site");
  await forge.addRepository("root/own");
  const token = forge.addToken("root", ["all"]);
  return { forge, at: (scope, more = {}) => targetAt(forge.url, { scope, token: () => token, ...more }) };
}

const ORG: ForgeScope = { kind: "org", owner: "acme" };
const SCOPES: [string, ForgeScope][] = [
  ["instance", { kind: "instance" }],
  ["organisation", ORG],
  ["user", { kind: "user" }],
  ["repository", { kind: "repo", owner: "acme", repo: "site" }],
];
const FORGEJO = "+gitea-1.22.0";

describe.each<[ForgeSimulatorOptions["flavour"], string]>([
  ["gitea", "1.25.1"],
  ["gitea", "1.26.4"],
  ["gitea", "1.27.2"],
  ["gitea", "28.0.0"],
  ["forgejo", `15.0.0${FORGEJO}`],
  ["forgejo", `16.0.1${FORGEJO}`],
])("%s %s", (flavour, version) => {
  it.each(SCOPES)("serves the whole life of a runner at an %s", async (_, scope) => {
    const { forge, at } = await place({ flavour, version });
    const repository = scope.kind === "user" ? "root/own" : "acme/site";
    await forge.pushWorkflow({ repository, yaml: WORKFLOW });
    const target = at(scope);
    const jobs = (await target.jobs([], never)).items;
    const queued = jobs.filter(({ status }) => status === "queued");
    expect(queued.map(({ name }) => name).toSorted()).toEqual(["build", "lint"]);
    expect(queued.find(({ name }) => name === "build")?.labels).toEqual(["linux", "gpu"]);
    if (flavour === "gitea") {
      expect(jobs.find(({ name }) => name === "deploy")?.status).toBe("blocked");
      expect(queued.every((job) => job.repository === repository)).toBe(true);
    } else {
      expect(new Set(queued.map(({ handle }) => handle)).size).toBe(2);
    }

    const registration = await target.register({ name: "vm-1", labels: ["linux:host"] }, never);
    const rows = (await target.runners(never)).items;
    expect(rows).toMatchObject([{ target: target.key, row: registration.row, name: "vm-1", ephemeral: true }]);

    const engine = createRunnerClient({ baseUrl: forge.url, uuid: registration.uuid, token: registration.token });
    await engine.runner.declare({ version: "test", labels: ["linux"] });
    const { task } = await engine.runner.fetchTask({});
    expect(task).toBeDefined();
    const running = (await target.jobs([], never)).items.filter(({ status }) => status === "running");
    expect(running.map(({ name }) => name)).toEqual(["lint"]);
    if (flavour === "gitea") expect(running[0]?.runnerRow).toBe(registration.row);

    const idle = await target.register({ name: "vm-2", labels: ["linux:host"] }, never);
    await target.disableRunner(idle.row, never);
    await target.deleteRunner(idle.row, never);
    await target.deleteRunner(idle.row, never);
    expect(forge.runners("existing").map(({ name }) => name)).toEqual(["vm-1"]);
  });
});

describe("older versions", () => {
  it.each<[ForgeSimulatorOptions["flavour"], string, boolean]>([
    ["gitea", "1.22.6", false],
    ["gitea", "1.23.8", false],
    ["gitea", "1.24.7", true],
    ["forgejo", `7.0.0${FORGEJO}`, false],
    ["forgejo", `11.0.3${FORGEJO}`, false],
    ["forgejo", `14.0.0${FORGEJO}`, false],
  ])("%s %s registers, ephemeral: %s", async (flavour, version, ephemeral) => {
    const { forge, at } = await place({ flavour, version });
    for (const [, scope] of SCOPES) {
      const strict = at(scope);
      if (ephemeral)
        expect(await strict.register({ name: "vm", labels: [] }, never)).toMatchObject({ row: expect.any(Number) });
      else
        expect(await failureOf(strict.register({ name: "vm", labels: [] }, never))).toMatchObject({
          code: "FORGE_NOT_EPHEMERAL",
        });
      const lax = at(scope, { allowPersistentRegistration: true });
      expect(await lax.register({ name: "vm", labels: [] }, never)).toMatchObject({ row: expect.any(Number) });
    }
    expect(forge.runners("existing")).toHaveLength(ephemeral ? 8 : 4);
  });

  it.each(["11.0.3", "13.0.0", "14.0.0"])("Forgejo %s shows its queue for the labels of all pools", async (version) => {
    const { forge, at } = await place({ flavour: "forgejo", version: version + FORGEJO });
    await forge.pushWorkflow({ repository: "acme/site", yaml: WORKFLOW });
    for (const scope of [ORG, { kind: "instance" } as const]) {
      expect((await at(scope).jobs(["linux"], never)).items.map(({ name }) => name)).toEqual(["lint"]);
      expect((await at(scope).jobs(["linux", "gpu"], never)).items.map(({ name }) => name)).toEqual(["build", "lint"]);
    }
  });
});

it.each([
  ["gitea", "1.23.8"],
  ["gitea", "1.25.1"],
  ["gitea", "1.27.2"],
  ["forgejo", `11.0.3${FORGEJO}`],
  ["forgejo", `15.0.0${FORGEJO}`],
] as const)(
  "%s %s tells the registration token of every scope, which registers runners there",
  async (flavour, version) => {
    const { forge, at } = await place({ flavour, version });
    for (const [name, scope] of SCOPES) {
      const token = await at(scope).registrationToken(never);
      const { runner } = createRunnerClient({ baseUrl: forge.url });
      await runner.register({ name, token, labels: [], version: "guest" });
    }
    expect(forge.runners("existing").map(({ name }) => name)).toEqual(SCOPES.map(([name]) => name));
  },
);

describe("a forge in trouble", () => {
  it("fetches the registration token again after a reset", async () => {
    const { forge, at } = await place({});
    const target = at(ORG);
    await target.register({ name: "a", labels: [] }, never);
    forge.resetRegistrationToken("acme");
    await target.register({ name: "b", labels: [] }, never);
    expect(forge.runners("existing").map(({ name }) => name)).toEqual(["a", "b"]);
  });

  it("finds every runner though rows move between the pages", async () => {
    for (const flavour of ["gitea", "forgejo"] as const) {
      const { forge, at } = await place({ flavour, version: flavour === "gitea" ? "1.26.0" : `15.0.0${FORGEJO}` });
      const target = at(ORG);
      for (let index = 0; index < 120; index++) await target.register({ name: `vm-${index}`, labels: [] }, never);
      forge.behaviours.pageDrift = true;
      const rows = (await target.runners(never)).items;
      expect(new Set(rows.map(({ row }) => row)).size).toBe(rows.length);
      expect(rows).toHaveLength(120);
    }
  });

  it("gets through passing faults, and does not register twice", async () => {
    const { forge, at } = await place({});
    await forge.pushWorkflow({ repository: "acme/site", yaml: WORKFLOW });
    const target = at(ORG);
    const match = "GET /api/v1/orgs/acme/actions/jobs";
    for (const fault of [
      { kind: "reset" },
      { kind: "truncate" },
      { kind: "status", status: 503 },
      { kind: "drop-reply" },
    ] as const) {
      forge.faults.add({ fault, match, times: 1 });
      expect((await target.jobs([], never)).items, fault.kind).toHaveLength(3);
    }
    for (const kind of ["html", "bad-json"] as const) {
      forge.faults.add({ fault: { kind }, match, times: 1 });
      expect(await failureOf(target.jobs([], never)), kind).toMatchObject({ code: "FORGE_BAD_ANSWER" });
    }
    forge.faults.add({ fault: { kind: "drop-reply" }, match: /Register$/, times: 1 });
    expect(await failureOf(target.register({ name: "lost", labels: [] }, never))).toMatchObject({
      facts: { sent: true },
    });
    expect((await target.runners(never)).items.map(({ name }) => name)).toEqual(["lost"]);
  });

  it.each<[ForgeScope["kind"], string[], string]>([
    ["org", ["read:organization"], "write:organization"],
    ["instance", ["write:organization"], "write:admin"],
    ["repo", ["read:repository", "write:admin"], "write:repository"],
    ["user", [], "write:user"],
  ])("names the scope that a token lacks at %s", async (kind, scopes, wanted) => {
    const { forge, at } = await place({});
    const token = forge.addToken("root", scopes);
    const scope = SCOPES.find(([, each]) => each.kind === kind)?.[1] ?? ORG;
    const failure = await failureOf(at(scope, { token: () => token }).register({ name: "vm", labels: [] }, never));
    expect(failure).toMatchObject({ code: "FORGE_FORBIDDEN", facts: { wantedScopes: wanted } });
    expect(failure.hint).toContain(`a token with ${wanted}`);
  });
});

describe("checkRights", () => {
  const states = async (target: ForgeTarget): Promise<string> =>
    (await checkRights(target, ["linux"], never)).map(({ feature, state }) => `${feature} ${state}`).join(", ");

  it("finds all rights of a good token and leaves nothing behind", async () => {
    const { forge, at } = await place({ version: "1.26.0" });
    for (const [, scope] of SCOPES) {
      expect(await states(at(scope))).toBe("queue given, runners given, register given, delete given, disable given");
    }
    expect(forge.runners("all")).toEqual([]);
  });

  it("finds what is missing, and what the version does not have", async () => {
    const { forge, at } = await place({ version: "1.25.0" });
    const token = forge.addToken("root", ["read:organization"]);
    expect(await states(at(ORG, { token: () => token }))).toBe(
      "queue given, runners given, register missing, delete missing, disable unsupported",
    );
    const older = await place({ flavour: "forgejo", version: `11.0.0${FORGEJO}` });
    expect(await states(older.at(ORG))).toBe(
      "queue given, runners unsupported, register unknown, delete unsupported, disable unsupported",
    );
  });
});

it("reads the webhooks that the simulator sends, in any order and twice", async () => {
  const { forge, at } = await place({ behaviours: { completedTimes: 2 } });
  const secret = "hook-secret";
  const target = at(ORG);
  forge.webhooks.hold(true);
  await addHook(forge, secret);
  await forge.pushWorkflow({ repository: "acme/site", yaml: WORKFLOW });
  const reader = createWebhookReader({ secret: () => secret, targets: () => [target] });
  const read = forge.webhooks
    .deliveries()
    .map(({ headers, body }) => reader.read(new Headers(headers), Buffer.from(body)));
  expect(read.map(({ kind }) => kind).toSorted()).toEqual(["blocked", "queued", "queued"]);
  const polled = (await target.jobs([], never)).items;
  const pushed = read.flatMap(({ jobs }) => jobs);
  expect(pushed.toSorted((a, b) => a.id - b.id)).toEqual(polled.toSorted((a, b) => a.id - b.id));
  const again = forge.webhooks
    .deliveries()
    .map(({ headers, body }) => reader.read(new Headers(headers), Buffer.from(body)));
  expect(again.every(({ jobs }) => jobs.length === 0)).toBe(true);
});

it("reads of a job that runs again what the queue says, also while its attempt is not counted yet", async () => {
  const { forge, at } = await place({ version: "1.25.1" });
  const secret = "hook-secret";
  const target = at(ORG);
  await addHook(forge, secret);
  const reader = createWebhookReader({ secret: () => secret, targets: () => [target] });
  let taken = 0;
  const news = () => {
    const fresh = forge.webhooks.deliveries().slice(taken);
    taken += fresh.length;
    return fresh.map(({ headers, body }) => reader.read(new Headers(headers), Buffer.from(body)));
  };
  const run = await forge.pushWorkflow({
    repository: "acme/site",
    yaml: "on: push\njobs: { one: { runs-on: linux, steps: [{ run: x }] } }",
  });
  const [first] = news();
  expect(first).toMatchObject({ kind: "queued", jobs: (await target.jobs([], never)).items });
  expect(first?.jobs).toMatchObject([{ attempt: 1 }]);
  const id = first?.jobs[0]?.id ?? 0;
  forge.cancelRun(run.id);
  expect(news().map(({ kind }) => kind)).toEqual(["completed"]);
  forge.rerunJob(id);
  // What was never taken is not counted: to the letter this is the first delivery, and only the queue tells.
  expect(news()).toMatchObject([{ kind: "none", jobs: [] }]);
  expect((await target.jobs([], never)).items).toMatchObject([{ id, attempt: 1, status: "queued" }]);
});

/** Nothing listens at the hook's address: deliveries are read from the simulator's own list. */
async function addHook(forge: ForgeSimulator, secret: string): Promise<void> {
  const token = forge.addToken("root", ["all"]);
  const config = { url: "http://127.0.0.1:9/webhooks/forge", content_type: "json", secret };
  const answer = await fetch(`${forge.url}/api/v1/orgs/acme/hooks`, {
    method: "POST",
    headers: { authorization: `token ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ type: "gitea", active: true, events: ["workflow_job"], config }),
  });
  if (answer.status !== 201) throw new Error(`no hook: ${answer.status} ${await answer.text()}`);
}
