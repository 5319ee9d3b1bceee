import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { bootId, systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { DriverName } from "../../../src/core/types.ts";
import { createForgeSimulator, type ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import type { SandboxDriver } from "../../../src/sandbox/port.ts";
import { type Composition, compose } from "../../../src/serve/compose.ts";
import { eventually, HOST_ID, settingsFor, temporaryDirectory } from "../../support/orchestrator.ts";
import { createScriptedDriver } from "../../support/scripted/driver.ts";

const yaml = (label = "native") => `
on: push
jobs:
  build:
    runs-on: ${label}
    steps: [{ run: "echo built" }]
`;
const FORGEJO = "+gitea-1.22.0";
/** Two processes and a forge on a machine that may be busy, milliseconds. */
const PATIENCE = 60_000;

/** `root` administers everything; eve has a fork. */
async function forgeOf(flavour: "gitea" | "forgejo", version: string) {
  const forge = await createForgeSimulator({ flavour, version });
  forge.addUser("root", { admin: true });
  forge.addUser("amy");
  forge.addUser("eve");
  forge.addOrganization("acme", { owners: ["amy"] });
  forge.addOrganization("tools", { owners: ["amy"] });
  for (const name of ["acme/site", "acme/other", "tools/a", "eve/site"])
    await forge.addRepository(name, { files: { "a.txt": "a\n" } });
  return { forge, token: forge.addToken("root", ["all"]) };
}

/** A native pool's configuration, whose sandboxes another driver makes: trust does not depend on it. */
async function start(
  directory: string,
  forge: ForgeSimulator,
  token: string,
  more: { native?: object; drivers?: Map<DriverName, SandboxDriver> } = {},
): Promise<Composition & { settings: ReturnType<typeof settingsFor> }> {
  const native = { trusted: ["acme/site", "tools/*"], ...more.native };
  const pools = [{ name: "host", driver: "native", engine: "shell", runner: { labels: ["native"] }, native }];
  const loaded = settingsFor({ directory, forge, token, pools, pollInterval: 200 });
  const settings = { ...loaded, pools: loaded.pools.map((pool) => ({ ...pool, driver: "fake" as const })) };
  const composition = await compose({
    settings,
    places: { state: join(directory, "state"), run: join(directory, "run") },
    hostId: HOST_ID,
    boot: bootId(),
    clock: systemClock,
    log: createLogger("error"),
    ...(more.drivers === undefined ? {} : { drivers: more.drivers }),
  });
  await composition.start();
  return { ...composition, settings };
}

/** The real agent, from its source, as the program in each sandbox. */
function agentIn(directory: string): void {
  const path = join(directory, "agent");
  const main = join(import.meta.dirname, "../../../src/agent/main.ts");
  // What the fake driver calls it with begins with the word that the whole program would be given.
  writeFileSync(path, `#!/bin/sh\nshift\nexec "${process.execPath}" "${main}" "$@"\n`, { mode: 0o755 });
  vi.stubEnv("FIRETEACT_FAKE_AGENT", path);
  onTestFinished(() => void vi.unstubAllEnvs());
}

const scripted = () => createScriptedDriver({ bootTime: 5, fetchInterval: 10, jobTime: 20 });
const codes = ({ orchestrator }: Composition) =>
  Object.fromEntries(orchestrator.reasons().map(({ job, code }) => [job.id, code]));

describe.each([
  ["gitea", "1.25.1"],
  ["gitea", "28.0.0"],
  ["forgejo", `15.0.0${FORGEJO}`],
  ["forgejo", `16.0.1${FORGEJO}`],
] as const)("a native pool at %s %s", (flavour, version) => {
  it("runs trusted jobs at their own repositories, and tells of every other why not", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await forgeOf(flavour, version);
    await using _ = forge;
    const { driver } = scripted();
    const serving = await start(directory.path, forge, token, {
      native: { events: ["push", "pull_request"] },
      drivers: new Map([["fake", driver]]),
    });
    const push = async (over: Partial<Parameters<ForgeSimulator["pushWorkflow"]>[0]>) =>
      (await forge.pushWorkflow({ repository: "acme/site", yaml: yaml(), ...over })).job("build").id;
    // Each waits alone, since a Gitea's runner takes whatever comes first.
    const good = [await push({}), await push({ repository: "tools/a" })];
    await eventually("both ran", () => good.every((id) => forge.job(id).status === "success"), PATIENCE);
    // One after another: where the queue does not name a job's run, several open ones of different origins hide it.
    const told: Record<string, string> = {};
    const tell = async (what: string, code: string, over: Parameters<typeof push>[0]) => {
      const id = await push(over);
      await eventually(`${what} is told as ${code}`, () => codes(serving)[id] === code, PATIENCE);
      told[what] = forge.job(id).status;
      forge.cancelJob(id);
    };
    await tell("event", "untrusted-event", { event: "release" });
    await tell("tag", "untrusted-branch", { ref: "refs/tags/main" });
    await tell("fork", "untrusted-fork", { pull: { number: 3, branch: "topic", from: "eve/site" } });
    await tell("no labels", "no-pool-matches", { yaml: yaml().replace("runs-on: native", "runs-on: []") });
    // Forgejo's queue names no repository: one that is not trusted is none that is known.
    const foreign = flavour === "gitea" ? "untrusted-repository" : "origin-unknown";
    await tell("repository", foreign, { repository: "acme/other" });
    expect(new Set(Object.values(told))).toEqual(new Set(["waiting"]));
    await eventually("all records closed", () => serving.orchestrator.runners().length === 0, PATIENCE);
    const scopes = forge.runners("all").map(({ scope, labels }) => [scope.ownerId, scope.repositoryId, labels]);
    expect(scopes.toSorted((one, other) => Number(one[1]) - Number(other[1]))).toEqual([
      [0, 1, ["native"]],
      [0, 3, ["native"]],
    ]);
    expect(forge.runners("existing")).toEqual([]);
    await serving.stop("detach", 0);
    await serving.close();
  });

  it("registers nothing for what is trusted no more, however late that is known", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await forgeOf(flavour, version);
    await using _ = forge;
    const { driver } = scripted();
    const serving = await start(directory.path, forge, token, { drivers: new Map([["fake", driver]]) });
    await eventually("the forge was read", () => serving.orchestrator.targets()[0]?.health === "ok", PATIENCE);
    // Between the plan that wants a runner and its registration, the configuration changes.
    let reloaded = false;
    serving.orchestrator.subscribe((event) => {
      if (reloaded || event.kind !== "runner" || event.change !== "created") return;
      reloaded = true;
      const pools = serving.settings.pools.map((pool) => ({
        ...pool,
        trust: { repositories: ["tools/*"], events: ["push"], allowForks: false },
      }));
      serving.reload({ ...serving.settings, pools });
    });
    const run = await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    await eventually("the configuration was changed", () => reloaded, PATIENCE);
    await eventually("the runner is gone", () => serving.orchestrator.runners().length === 0, PATIENCE);
    await eventually("the reason is told", () => Object.values(codes(serving))[0] === "untrusted-repository", PATIENCE);
    expect(forge.runners("all")).toEqual([]);
    expect(run.job("build").status).toBe("waiting");
    await serving.stop("detach", 0);
    await serving.close();
  });
});

describe("a runner that no forge binds", () => {
  it("fails an untrusted job that came first, with the reason, before its first step; the trusted one runs after it", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await forgeOf("gitea", "1.25.1");
    await using _ = forge;
    agentIn(directory.path);
    const marker = join(directory.path, "ran");
    const evil = yaml().replace("echo built", `touch ${marker}`);
    const fork = await forge.pushWorkflow({
      repository: "acme/site",
      yaml: evil,
      pull: { number: 3, branch: "topic", from: "eve/site" },
    });
    const serving = await start(directory.path, forge, token, { native: { events: ["push", "pull_request"] } });
    await eventually("its reason is told", () => codes(serving)[fork.job("build").id] === "untrusted-fork", PATIENCE);
    expect(forge.runners("all")).toEqual([]);
    const good = await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    expect(await good.finished(AbortSignal.timeout(PATIENCE))).toEqual({ build: "success" });
    expect(await fork.finished(AbortSignal.timeout(PATIENCE))).toEqual({ build: "failure" });
    const log =
      fork
        .job("build")
        .attempts[0]?.log.map(({ content }) => content)
        .join("\n") ?? "";
    expect(log).toContain("This runner does not run this job (untrusted-fork): it comes from a fork");
    expect(existsSync(marker)).toBe(false);
    await eventually("all records closed", () => serving.orchestrator.runners().length === 0, PATIENCE);
    expect(forge.runners("existing")).toEqual([]);
    await serving.stop("detach", 0);
    await serving.close();
  });
});

describe.each([
  ["gitea", "1.24.0"],
  ["forgejo", `14.0.0${FORGEJO}`],
] as const)("a native pool at %s %s", (flavour, version) => {
  it("is refused, since the forge does not tell what started a job", async () => {
    using directory = temporaryDirectory();
    const { forge, token } = await forgeOf(flavour, version);
    await using _ = forge;
    const { driver } = scripted();
    const serving = await start(directory.path, forge, token, { drivers: new Map([["fake", driver]]) });
    await forge.pushWorkflow({ repository: "acme/site", yaml: yaml() });
    await eventually("the pool is not usable", () => serving.orchestrator.pools()[0]?.usable === false, PATIENCE);
    expect(serving.orchestrator.pools()[0]?.detail).toMatch(
      /does not tell what started a job: Gitea 1\.25 and Forgejo 15 do/,
    );
    expect(forge.runners("all")).toEqual([]);
    await serving.stop("detach", 0);
    await serving.close();
  });
});
