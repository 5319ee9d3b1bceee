import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import type { Flavour } from "../../../src/forge-simulator/traits.ts";
import { examine, type Finding } from "../../../src/serve/doctor.ts";
import { closeServer, listenSocket } from "../../../src/serve/listeners.ts";
import { FAKE_POOL, giteaWithRepository, temporaryDirectory } from "../../support/orchestrator.ts";

interface World {
  flavour?: Flavour;
  version?: string;
  /** Rights of the API token. */
  rights?: string[];
  gitea?: Record<string, unknown>;
  extra?: Record<string, unknown>;
  pool?: Record<string, unknown>;
}

/** The findings on a configuration for a forge simulator, by subject. */
async function findingsOf({ flavour = "gitea", version = "1.25.1", rights, ...world }: World) {
  using directory = temporaryDirectory();
  const { forge, token } = await giteaWithRepository({ flavour, version });
  await using _ = forge;
  const given = rights === undefined ? token : forge.addToken("root", rights);
  const gitea = { instanceURL: forge.url, apiToken: given, runnerScope: "instance", ...world.gitea };
  const server = { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0" };
  const file = join(directory.path, "config.yaml");
  const pools = [{ ...FAKE_POOL, ...world.pool }];
  writeFileSync(file, stringify({ gitea, server, pools, ...world.extra }), { mode: 0o600 });
  const findings = await examineAt(file, directory.path);
  for (const finding of findings) {
    expect(JSON.stringify(finding)).not.toContain(given);
    if (finding.state !== "good") expect(finding.hint, `hint of ${finding.subject}`).toBeTruthy();
  }
  return { findings, of: finder(findings, forge.url) };
}

const examineAt = (file: string, directory: string) =>
  examine(file, { state: join(directory, "state"), run: join(directory, "run") }, () => undefined);

const finder =
  (findings: Finding[], url = "") =>
  (subject: string) =>
    findings.filter((finding) => finding.subject === (subject === "forge" ? `forge ${url}` : subject));

describe("doctor", () => {
  it("finds nothing bad where all is well", async () => {
    const { findings, of } = await findingsOf({});
    expect(findings.filter(({ state }) => state === "bad")).toEqual([]);
    expect(of("forge")).toMatchObject([
      { state: "good", detail: expect.stringContaining("Gitea 1.25.1: full service") },
    ]);
    expect(of("token for instance")).toMatchObject([
      { state: "good", detail: "may: read the queue, list runners, register runners, delete runners" },
    ]);
    expect(of("pool default")[0]?.state).toBe("good");
    expect(of("webhook")[0]?.detail).toContain("none configured");
  });

  it("names every right that the token lacks, with the scope that gives it", async () => {
    const { of } = await findingsOf({ rights: ["read:admin"] });
    const [may, ...lacking] = of("token for instance");
    expect(may?.detail).toBe("may: read the queue, list runners");
    expect(lacking.map(({ state, detail }) => [state, detail.split(":")[0]])).toEqual([
      ["bad", "may not register runners"],
      ["bad", "may not delete runners"],
    ]);
    for (const { hint } of lacking) expect(hint).toContain("write:admin");
  });

  it("says what an older forge cannot do, and whether pools start at all", async () => {
    const degraded = await findingsOf({ version: "1.24.0" });
    expect(degraded.of("forge")).toMatchObject([{ state: "warning", detail: expect.stringContaining("degraded") }]);
    expect(degraded.of("webhook")).toMatchObject([{ state: "bad" }]);
    const persistent = await findingsOf({ version: "1.22.3" });
    expect(persistent.of("forge")).toMatchObject([{ state: "bad", detail: expect.stringContaining("not ephemeral") }]);
    const allowed = await findingsOf({ version: "1.22.3", gitea: { allowPersistentRegistration: true } });
    expect(allowed.of("forge")).toMatchObject([{ state: "warning" }]);
    expect(
      allowed
        .of("configuration")
        .map(({ detail }) => detail)
        .join(),
    ).toContain("allowPersistentRegistration");
  });

  it("says why a forge does not answer", async () => {
    const { findings } = await findingsOf({ gitea: { instanceURL: "http://127.0.0.1:1" } });
    const [forge] = findings.filter(({ subject }) => subject === "forge http://127.0.0.1:1");
    expect(forge).toMatchObject({ state: "bad", detail: expect.stringContaining("connection refused") });
  });

  it("notices clocks that differ", async () => {
    const ahead = createServer((_, response) => {
      response.setHeader("Date", new Date(Date.now() - 600_000).toUTCString());
      response.setHeader("Content-Type", "application/json");
      response.end('{"version":"1.25.1"}');
    });
    await new Promise<void>((resolve) => ahead.listen(0, "127.0.0.1", resolve));
    const { port } = ahead.address() as AddressInfo;
    const { findings } = await findingsOf({ gitea: { instanceURL: `http://127.0.0.1:${port}` } });
    ahead.close();
    const [clock] = findings.filter(({ subject }) => subject === `clock against 127.0.0.1:${port}`);
    expect(clock).toMatchObject({ state: "warning", detail: "this host is 600 s ahead" });
  });

  it("says what is wrong with the configuration and still looks at the host", async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "config.yaml");
    writeFileSync(file, "pools: []\n");
    const wrong = await examineAt(file, directory.path);
    expect(wrong[0]).toMatchObject({ subject: "configuration", state: "bad" });
    expect(wrong.map(({ subject }) => subject)).toEqual(expect.arrayContaining(["qemu", "network", "disk space"]));
    const absent = await examineAt(join(directory.path, "none.yaml"), directory.path);
    expect(absent[0]).toMatchObject({ state: "bad", detail: expect.stringContaining("does not exist") });
  });

  it("says what a pool's driver lacks, and what is dangerous", async () => {
    const absent = { binaryPath: "/no/such/firecracker", kernelPath: "/etc/passwd", initrdPath: "/etc/passwd" };
    const pool = { driver: "firecracker", firecracker: absent, runner: { image: "local:default", labels: ["a"] } };
    const firecracker = await findingsOf({ pool });
    expect(firecracker.of("pool default")).toMatchObject([{ state: "good" }]);
    expect(firecracker.of("firecracker")).toMatchObject([
      { state: "bad", hint: expect.stringContaining("driver: qemu") },
    ]);
    expect(firecracker.of("kernel")).toMatchObject([{ state: "bad", detail: expect.stringContaining("uncompressed") }]);
    const qemu = { driver: "qemu", runner: { image: "local:default", labels: ["a"] } };
    const original = { ...qemu, engine: "gitea-runner", runner: { ...qemu.runner, agent: "original" } };
    const legacy = await findingsOf({ gitea: { legacyRegistrationToken: true }, pool: original });
    expect(legacy.of("pool default")).toMatchObject([{ state: "warning", hint: expect.stringContaining("legacy") }]);
    const harmless = await findingsOf({ gitea: { legacyRegistrationToken: true }, pool: qemu });
    expect(harmless.of("pool default")).toMatchObject([{ state: "good" }]);
    const loopback = await findingsOf({ pool: qemu });
    expect(loopback.of("forge").at(-1)).toMatchObject({ state: "bad", detail: expect.stringContaining("loopback") });
    const large = await findingsOf({ pool: { ...qemu, engine: "shell", qemu: { memSizeMib: 16_000_000 } } });
    expect(large.of("capacity")).toMatchObject([{ state: "bad", detail: expect.stringContaining("default") }]);
  });

  it("reminds of what a webhook needs", async () => {
    using directory = temporaryDirectory();
    const secretFile = join(directory.path, "secret");
    writeFileSync(secretFile, "0123456789abcdef0123456789abcdef\n", { mode: 0o600 });
    const webhook = { webhook: { secretFile } };
    const local = await findingsOf({ extra: webhook });
    expect(local.of("webhook")).toMatchObject([
      { state: "warning", hint: expect.stringContaining("ALLOWED_HOST_LIST") },
    ]);
    const server = { address: "0.0.0.0:0", metricsAddress: "127.0.0.1:0" };
    const open = await findingsOf({ extra: { ...webhook, server } });
    expect(open.of("webhook")).toMatchObject([{ state: "good", hint: expect.stringContaining("ALLOWED_HOST_LIST") }]);
    const forgejo = await findingsOf({ flavour: "forgejo", version: "15.0.0+gitea-1.22.0", extra: webhook });
    expect(forgejo.of("webhook")[0]?.detail).toContain("no forge here sends webhooks");
    writeFileSync(secretFile, "short", { mode: 0o600 });
    expect((await findingsOf({ extra: webhook })).of("webhook")[0]?.detail).toContain("only 5 characters");
  });

  it("tells a running daemon from a foreign one, and a taken port", async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "config.yaml");
    const socket = join(directory.path, "run", "api.sock");
    const server = await listenSocket(
      new Hono().get("/health", (context) => context.json({ status: "degraded", problems: ["pool a: no image"] })),
      socket,
    );
    const degraded = finder(await examineAt(file, directory.path))("daemon");
    await closeServer(server);
    expect(degraded).toMatchObject([{ state: "warning", detail: "running, but degraded: pool a: no image" }]);

    const foreign = await listenSocket(
      new Hono().get("/health", (context) => context.text("hello")),
      socket,
    );
    expect(finder(await examineAt(file, directory.path))("daemon")).toMatchObject([{ state: "bad" }]);
    await closeServer(foreign);

    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
    const { of } = await findingsOf({ extra: { server: { address, metricsAddress: "127.0.0.1:0" } } });
    taken.close();
    expect(of("server.address")).toMatchObject([{ state: "bad", detail: expect.stringContaining("EADDRINUSE") }]);
    expect(of("server.metricsAddress")).toMatchObject([{ state: "good" }]);
  });

  it("says what a directory that cannot be made costs", async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "file");
    writeFileSync(file, "");
    const places = { state: join(file, "state"), run: join(directory.path, "run") };
    const [state] = finder(await examine("/nonexistent", places, () => undefined))("state directory");
    expect(state).toMatchObject({ state: "bad", hint: expect.stringContaining("FIRETEACT_STATE_DIR") });
  });
});
