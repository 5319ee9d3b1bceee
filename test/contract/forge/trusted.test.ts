import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/base/clock.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { distrust, type TrustPolicy } from "../../../src/base/trust.ts";
import type { ForgeTargetOptions } from "../../../src/forge/create.ts";
import type { ForgeTarget } from "../../../src/forge/port.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../../src/forge-simulator/simulator.ts";
import { closeLater, failureOf, never, readableLog, targetAt } from "./harness.ts";

const yaml = (label = "native") => `
on: push
jobs:
  build:
    runs-on: ${label}
    steps: [{ run: "true" }]
`;
const FORGEJO = "+gitea-1.22.0";
const VERSIONS: [ForgeSimulatorOptions["flavour"], string][] = [
  ["gitea", "1.25.1"],
  ["gitea", "1.26.4"],
  ["gitea", "1.27.2"],
  ["gitea", "28.0.0"],
  ["forgejo", `15.0.0${FORGEJO}`],
  ["forgejo", `16.0.1${FORGEJO}`],
];
const OPEN: TrustPolicy = {
  repositories: ["acme/site", "tools/*"],
  events: ["push", "schedule", "workflow_dispatch", "pull_request", "pull_request_target"],
  allowForks: false,
};

interface Place {
  forge: ForgeSimulator;
  target: (token: string, options?: Partial<ForgeTargetOptions>) => ForgeTarget;
}

const byName = (one: string, other: string) => one.localeCompare(other);

/** Repositories in the order of their ids. */
const IDS = ["acme/site", "acme/other", "tools/a", "tools/b", "eve/site"];

/** `root` administers the site; `amy` owns acme, and `tools` by herself; `eve` owns a fork. */
async function place(options: Partial<ForgeSimulatorOptions> = {}): Promise<Place> {
  const forge = closeLater(
    await createForgeSimulator({ flavour: "gitea", version: "1.25.1", basePath: "/git", ...options }),
  );
  forge.addUser("root", { admin: true });
  forge.addUser("amy");
  forge.addUser("eve");
  forge.addOrganization("acme", { owners: ["amy"] });
  forge.addOrganization("tools", { owners: ["amy"] });
  for (const name of IDS) await forge.addRepository(name);
  const scope = { kind: "trusted", repositories: OPEN.repositories } as const;
  return {
    forge,
    target: (token, more = {}) =>
      targetAt(forge.url, { key: `${forge.url}#trusted`, scope, token: () => token, ...more }),
  };
}

const paths = (forge: ForgeSimulator, part: string) =>
  forge.requests
    .all()
    .map(({ path }) => path)
    .filter((path) => path.includes(part));

describe.each(VERSIONS)("%s %s", (flavour, version) => {
  it("tells where each job comes from, and which are trusted", async () => {
    const { forge, target } = await place({ flavour, version });
    const at = target(forge.addToken("root", ["all"]));
    const push = (over: Partial<Parameters<ForgeSimulator["pushWorkflow"]>[0]>) =>
      forge.pushWorkflow({ repository: "acme/site", yaml: yaml(), ...over });
    const verdicts: Record<string, string> = {};
    const judge = async (what: string, over: Parameters<typeof push>[0], policy = OPEN) => {
      const run = await push(over);
      const { items } = await at.jobs(["native"], never);
      const job = items.find(({ status }) => status === "queued");
      verdicts[what] = job === undefined ? "not seen" : (distrust(policy, job)?.code ?? "trusted");
      forge.cancelRun(run.id);
    };
    await judge("push", {});
    await judge("schedule", { event: "schedule" });
    await judge("branch", { ref: "refs/heads/topic" });
    await judge("tag called like the branch", { ref: "refs/tags/main" });
    await judge("event", { event: "release" });
    await judge("own pull request", { pull: { number: 1, branch: "topic" } });
    await judge("pull request to a branch", { pull: { number: 2, branch: "topic", base: "old" } });
    await judge("fork", { pull: { number: 3, branch: "topic", from: "eve/site" } });
    await judge("agit", { pull: { number: 4, branch: "topic", agit: true } });
    await judge("fork behind the target's branch", {
      event: "pull_request_target",
      pull: { number: 5, branch: "topic", from: "eve/site" },
    });
    await judge(
      "fork, allowed",
      { pull: { number: 6, branch: "topic", from: "eve/site" } },
      { ...OPEN, allowForks: true },
    );
    await judge("another repository", { repository: "acme/other" });
    await judge("another repository without our labels", { repository: "acme/other", yaml: yaml("ubuntu") });
    await judge("by the owner", { repository: "tools/b" });
    expect(verdicts).toEqual({
      push: "trusted",
      schedule: "trusted",
      branch: "untrusted-branch",
      "tag called like the branch": "untrusted-branch",
      event: "untrusted-event",
      "own pull request": "trusted",
      "pull request to a branch": "untrusted-branch",
      fork: "untrusted-fork",
      agit: "untrusted-fork",
      "fork behind the target's branch": "untrusted-fork",
      "fork, allowed": "trusted",
      // Forgejo's queue names no repository: one that is not trusted is none that is known.
      "another repository": flavour === "gitea" ? "untrusted-repository" : "origin-unknown",
      "another repository without our labels": "not seen",
      "by the owner": "trusted",
    });
  });

  it("registers at the job's repository, and finds and deletes the row there", async () => {
    const { forge, target } = await place({ flavour, version });
    const active: string[] = [];
    const at = target(forge.addToken("amy", ["all"]), { active: () => active });
    const made = await at.register(
      { name: "n-abc", labels: ["native:host"], repository: "tools/B", handle: "h" },
      never,
    );
    expect(forge.runners("existing")).toMatchObject([
      { name: "n-abc", scope: { ownerId: 0, repositoryId: IDS.indexOf("tools/b") + 1 } },
    ]);
    active.push("tools/b");
    expect((await at.runners(never)).items).toMatchObject([{ row: made.row, name: "n-abc", repository: "tools/b" }]);
    await at.deleteRunner(made.row, never);
    expect(forge.runners("existing")).toEqual([]);
    expect((await at.runners(never)).items).toEqual([]);

    // Another process knows the row only by its record.
    const again = await at.register({ name: "n-abd", labels: ["native:host"], repository: "tools/a" }, never);
    await target(forge.addToken("amy", ["all"])).deleteRunner(again.row, never, "tools/a");
    expect(forge.runners("existing")).toEqual([]);
  });

  it("registers nowhere else", async () => {
    const { forge, target } = await place({ flavour, version });
    const at = target(forge.addToken("root", ["all"]));
    for (const repository of ["acme/other", "eve/site", "acme", ""]) {
      const failure = await failureOf(at.register({ name: "n-abc", labels: ["native:host"], repository }, never));
      expect(failure.code).toBe("FORGE_REFUSED");
    }
    expect((await failureOf(at.register({ name: "n-abc", labels: ["native:host"] }, never))).code).toBe(
      "FORGE_REFUSED",
    );
    expect((await failureOf(at.registrationToken(never))).code).toBe("FORGE_UNSUPPORTED");
    expect(forge.runners("all")).toEqual([]);
  });

  it.each([
    ["an administrator", "root", ["all"], "/admin/actions"],
    ["an owner of the organisations", "amy", ["all"], "/orgs/tools/actions"],
    ["one who may only see repositories", "amy", ["write:repository"], "/repos/acme/site/actions"],
  ])("reads the queue as widely as %s may", async (_, user, scopes, widest) => {
    const { forge, target } = await place({ flavour, version });
    const names = scopes.includes("all") ? OPEN.repositories : ["acme/site", "tools/a", "tools/b"];
    const at = target(forge.addToken(user, scopes), { scope: { kind: "trusted", repositories: names } });
    await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    await forge.pushWorkflow({ repository: "tools/b", yaml: yaml() });
    const repositories = async () =>
      (await at.jobs(["native"], never)).items.map((job) => job.repository ?? "").toSorted(byName);
    expect(await repositories()).toEqual(["acme/site", "tools/b"]);
    forge.requests.clear();
    expect(await repositories()).toEqual(["acme/site", "tools/b"]);
    expect(paths(forge, "/jobs").filter((path) => path.includes(widest)).length).toBeGreaterThan(0);
    if (widest.includes("/admin")) expect(paths(forge, "/jobs")).toHaveLength(1);
  });
});

describe("trusted repositories", () => {
  it("are asked in turn where each has to be asked apart, those with jobs or runners every time", async () => {
    const { forge, target } = await place();
    for (let n = 0; n < 30; n++) await forge.addRepository(`tools/r${n}`);
    const names = Array.from({ length: 30 }, (_, n) => `tools/r${n}`);
    const at = target(forge.addToken("amy", ["write:repository"]), {
      scope: { kind: "trusted", repositories: names },
      active: () => ["tools/r29"],
    });
    await forge.pushWorkflow({ repository: "tools/r7", yaml: yaml() });
    await at.jobs(["native"], never);
    const asked = new Map<string, number>();
    const LATER = 6;
    for (let round = 0; round < LATER; round++) {
      forge.requests.clear();
      expect((await at.jobs(["native"], never)).items).toHaveLength(1);
      const now = paths(forge, "/actions/jobs");
      expect(now.length).toBeLessThanOrEqual(10);
      for (const path of now) asked.set(path, (asked.get(path) ?? 0) + 1);
    }
    expect(asked.size).toBe(30);
    const often = [...asked]
      .filter(([, times]) => times === LATER)
      .map(([path]) => path.split("/repos/")[1]?.split("/actions")[0] ?? "");
    expect(often.toSorted(byName)).toEqual(["tools/r29", "tools/r7"]);
  });

  it("are listed page by page, and again after ten minutes", async () => {
    let now = 0;
    const clock: Clock = { ...systemClock, uptime: () => systemClock.uptime() + now };
    const { forge, target } = await place();
    for (let n = 0; n < 60; n++) await forge.addRepository(`tools/r${n}`);
    const at = target(forge.addToken("root", ["all"]), { clock });
    const seen = async () => (await at.jobs(["native"], never)).items.filter((job) => job.origin !== undefined).length;
    await forge.pushWorkflow({ repository: "tools/r59", yaml: yaml() });
    expect(await seen()).toBe(1);
    await forge.addRepository("tools/later");
    await forge.pushWorkflow({ repository: "tools/later", yaml: yaml() });
    expect(await seen()).toBe(1);
    now += 10 * 60_000;
    expect(await seen()).toBe(2);
  });

  it("that are missing, foreign or unreadable are left out with one warning each", async () => {
    const { log, lines } = readableLog();
    const { forge, target } = await place();
    const repositories = ["acme/site", "acme/none", "nobody/*", "eve/site"];
    const at = target(forge.addToken("amy", ["all"]), { log, scope: { kind: "trusted", repositories } });
    await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    await at.jobs(["native"], never);
    expect((await at.jobs(["native"], never)).items).toHaveLength(1);
    const warned = lines().filter(({ msg }) => msg === "a trusted repository cannot be served");
    expect(warned.map(({ repository, problem }) => [repository, problem])).toEqual([
      ["acme/none", "the forge shows the token no such repository"],
      ["nobody/*", "the forge shows the token no such repository"],
      ["eve/site", "the token's user may not register runners there"],
    ]);
  });

  it("are not read as empty with a wrong token", async () => {
    const { target } = await place();
    expect((await failureOf(target("wrong-token").jobs(["native"], never))).code).toBe("FORGE_UNAUTHORIZED");
  });

  it("do without what one job's run does not tell", async () => {
    const { forge, target } = await place();
    const at = target(forge.addToken("root", ["all"]));
    await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    await forge.pushWorkflow({ repository: "tools/a", yaml: yaml() });
    forge.faults.add({ match: "GET /api/v1/repos/acme/site/actions/runs/", fault: { kind: "status", status: 404 } });
    const { items } = await at.jobs(["native"], never);
    expect(Object.fromEntries(items.map((job) => [job.repository, job.origin?.event]))).toEqual({
      "acme/site": undefined,
      "tools/a": "push",
    });
  });
});
