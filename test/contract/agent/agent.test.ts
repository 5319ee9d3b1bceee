import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { Agent, request as send } from "undici";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import type { ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import { startConnectProxy } from "../../support/connect-proxy.ts";
import { forgeWith, workflowOf } from "./shell-world.ts";
import { CREDENTIALS, createWorld, RUNNER, type World } from "./world.ts";

const worlds: World[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.end();
});

async function start(options: Parameters<typeof createWorld>[0]): Promise<World> {
  const world = await createWorld(options);
  worlds.push(world);
  return world;
}

const TLS = join(import.meta.dirname, "../../support/fixtures/tls");
const isRoot = process.getuid?.() === 0;
const complete = { ...RUNNER, engine: "gitea-runner", credentials: CREDENTIALS };

describe("the agent", () => {
  it("waits for credentials, runs one job with the published runner, tells it, and ends with 0", async () => {
    const world = await start({ metadata: { ...RUNNER, engine: "gitea-runner" } });
    await world.until(() => world.kinds().includes("up"), "up");
    expect(existsSync(join(world.workDir, ".runner"))).toBe(false);
    world.metadata = { ...complete, engine_timeout_seconds: "60" };
    world.channel.send({ kind: "metadata" });
    expect(await world.exitCode).toBe(0);
    await world.until(() => world.kinds().includes("engine-exited"), "the engine's end");
    const way = ["up", "starting", "listening", "assigned", "first-step", "job-finished", "engine-exited"];
    expect(world.kinds()).toEqual(way);
    expect(world.events.find((event) => event.kind === "assigned")).toEqual({
      kind: "assigned",
      taskId: 42,
      repository: "owner/name",
    });
    const seen = JSON.parse(readFileSync(join(world.workDir, "runner-file-seen"), "utf8"));
    expect(seen).toMatchObject({ id: 7, uuid: "u", token: "t-secret", labels: ["a:host"], ephemeral: true });
    expect(existsSync(join(world.workDir, ".runner"))).toBe(false);
    expect(readFileSync(join(world.workDir, "calls"), "utf8")).toBe(`daemon --once -c ${world.folder}/config.yaml\n`);
    expect(readFileSync(join(world.folder, "config.yaml"), "utf8")).toContain('shutdown_timeout: "60s"');
    // PWD, SHLVL and _ are the shell's own.
    const names = readFileSync(join(world.workDir, "environment"), "utf8")
      .split("\n")
      .filter((name) => /^\w+$/.test(name));
    expect(names.filter((name) => !["PWD", "SHLVL", "_", "OLDPWD"].includes(name))).toEqual([
      "DOCKER_HOST",
      "HOME",
      "PATH",
      "USER",
    ]);
    expect(world.output()).not.toContain("t-secret");
    expect(JSON.stringify(world.events)).not.toContain("t-secret");
  });

  it("registers by itself for a host of the original, and not again where there is a registration", async () => {
    const world = await start({ metadata: { ...RUNNER, registration_token: "real", runner_labels: "a,b" } });
    expect(await world.exitCode).toBe(0);
    const [register, daemon] = readFileSync(join(world.workDir, "calls"), "utf8").trim().split("\n");
    const config = `-c ${world.folder}/config.yaml`;
    expect(register).toBe(
      `register --no-interactive --instance http://127.0.0.1:9 --token real --name fireteact-1 --labels a,b ${config}`,
    );
    expect(daemon).toBe(`daemon --once ${config}`);

    const placed = await start({});
    writeFileSync(join(placed.workDir, ".runner"), '{"id":5}', { mode: 0o644 });
    placed.metadata = { ...RUNNER, registration_token: "useless" };
    expect(await placed.exitCode).toBe(0);
    expect(readFileSync(join(placed.workDir, "calls"), "utf8")).toBe(`daemon --once -c ${placed.folder}/config.yaml\n`);
  });

  it("ends with 1 when the engine fails, when it is not there, and when registering is refused", async () => {
    const crash = await start({ metadata: complete, mode: "crash" });
    expect(await crash.exitCode).toBe(1);
    await crash.until(() => crash.kinds().includes("engine-exited"), "the engine's end");
    expect(crash.events.at(-1)).toMatchObject({
      kind: "engine-exited",
      code: 7,
      detail: expect.stringContaining("Cannot invoke Declare"),
    });

    const missing = await start({ metadata: { ...complete, engine: "forgejo-runner" } });
    expect(await missing.exitCode).toBe(1);
    await missing.until(() => missing.kinds().includes("failed"), "the failure");
    expect(missing.events.at(-1)).toMatchObject({
      kind: "failed",
      detail: expect.stringContaining("no program for the engine forgejo-runner"),
    });

    const refused = await start({ metadata: { ...RUNNER }, mode: "refuse" });
    expect(await refused.exitCode).toBe(1);
    expect(existsSync(join(refused.workDir, ".runner"))).toBe(false);
  });

  it("answers a drain with drained when it has no job, and ends", async () => {
    const world = await start({ metadata: complete, mode: "idle" });
    await world.until(() => world.kinds().includes("listening"), "listening");
    world.channel.send({ kind: "drain" });
    expect(await world.exitCode).toBe(0);
    await world.until(() => world.kinds().includes("engine-exited"), "the engine's end");
    expect(world.kinds()).toEqual(["up", "starting", "listening", "drained", "engine-exited"]);

    const waiting = await start({ metadata: { ...RUNNER, engine: "shell" } });
    await waiting.until(() => waiting.kinds().includes("up"), "up");
    waiting.channel.send({ kind: "drain" });
    expect(await waiting.exitCode).toBe(0);
    await waiting.until(() => waiting.kinds().includes("drained"), "drained");
    expect(waiting.kinds()).toEqual(["up", "drained"]);
  });

  it("kills an engine that does not end within the grace of a shutdown", async () => {
    const world = await start({ metadata: complete, mode: "deaf" });
    await world.until(() => world.kinds().includes("listening"), "listening");
    const started = performance.now();
    world.channel.send({ kind: "shutdown", graceMs: 200 });
    expect(await world.exitCode).toBe(0);
    expect(performance.now() - started).toBeGreaterThan(190);
    await world.until(() => world.kinds().includes("engine-exited"), "the engine's end");
    expect(world.events.at(-1)).toMatchObject({ code: 137 });
  });

  it("ends with 0 when stopped by a signal, while it waits and while the engine runs", async () => {
    const waiting = await start({});
    await waiting.until(() => waiting.kinds().includes("up"), "up");
    waiting.agent.kill("SIGTERM");
    expect(await waiting.exitCode).toBe(0);

    const running = await start({ metadata: complete, mode: "idle" });
    await running.until(() => running.kinds().includes("listening"), "listening");
    running.agent.kill("SIGINT");
    expect(await running.exitCode).toBe(0);
    expect(existsSync(join(running.workDir, ".runner"))).toBe(false);
  });

  it("says a wrong command line in one line, and warns about an unknown level", async () => {
    const wrong = await start({ args: ["--retry-wait", "soon"] });
    expect(await wrong.exitCode).toBe(1);
    expect(wrong.output()).toMatch(/^fireteact runner: "soon" is not a duration\n {2}write it like/);

    const loud = await start({ args: ["-l", "loud"] });
    await loud.until(() => loud.output().includes("unknown log level"), "the warning");
  });
});

describe("the agent with the shell engine", () => {
  it("runs a job of a forge from credentials in the metadata, as the owner", async () => {
    const forge = await forgeWith();
    const workflow = workflowOf("- run: echo I am $(id -un) in $(id -gn); echo TOKEN=$(cat ../../../.runner 2>&1)");
    const run = await forge.pushWorkflow({ repository: "acme/site", yaml: workflow });
    const credentials = await register(forge, forge.url);
    const world = await start({ metadata: { ...RUNNER, engine: "shell", engine_timeout_seconds: "60", credentials } });
    expect(await world.exitCode).toBe(0);
    await world.until(() => world.kinds().includes("engine-exited"), "the engine's end");
    expect(world.kinds()).toEqual([
      "up",
      "starting",
      "listening",
      "assigned",
      "first-step",
      "job-finished",
      "engine-exited",
    ]);
    expect(world.events).toContainEqual({ kind: "job-finished", result: "success" });
    expect(await run.finished()).toEqual({ main: "success" });
    const log =
      run
        .job("main")
        .attempts[0]?.log.map((line) => line.content)
        .join("\n") ?? "";
    expect(log).toMatch(isRoot ? /^I am nobody in nogroup$/m : /^I am \S+ in \S+$/m);
    expect(log).toMatch(/^TOKEN=cat: .*No such file/m);
    const told = world.events
      .map((event) => (event.kind === "log" && event.stream === "job" ? event.text : ""))
      .join("");
    expect(told).toContain("I am ");
    expect(JSON.stringify(world.events)).not.toContain(credentials.token);
  });

  it("reaches a forge with a private authority, on a sub-path, through a proxy, and so does git", async () => {
    const port = await freePort();
    const publicUrl = `https://forge.test:${port}/git`;
    const forge = await forgeWith(
      {
        port,
        basePath: "/git",
        publicUrl,
        tls: {
          cert: readFileSync(join(TLS, "server.pem"), "utf8"),
          key: readFileSync(join(TLS, "server.key"), "utf8"),
        },
      },
      { private: true, files: { "README.md": "reached\n" } },
    );
    const proxy = await startConnectProxy();
    onTestFinished(() => proxy.close());
    const run = await forge.pushWorkflow({
      repository: "acme/site",
      yaml: workflowOf("- uses: actions/checkout@v4\n- run: cat README.md"),
    });
    const credentials = await register(forge, publicUrl);
    const world = await start({});
    cpSync(join(TLS, "ca.pem"), join(world.folder, "ca.pem"));
    const lines = [
      `HTTPS_PROXY=${proxy.url}`,
      `NODE_EXTRA_CA_CERTS=${world.folder}/ca.pem`,
      `GIT_SSL_CAINFO=${world.folder}/ca.pem`,
    ];
    writeFileSync(join(world.folder, "environment"), [...lines, `https_proxy=${proxy.url}`].join("\n"));
    world.metadata = { ...RUNNER, engine: "shell", credentials };
    world.channel.send({ kind: "metadata" });
    expect(await world.exitCode).toBe(0);
    expect(await run.finished()).toEqual({ main: "success" });
    expect(run.job("main").attempts[0]?.log.map((line) => line.content)).toContain("reached");
    expect(new Set(proxy.seen)).toEqual(new Set([`forge.test:${port}`]));
  });
});

/** Registers an ephemeral runner as the host does; the guest reaches the forge at the address. */
async function register(forge: ForgeSimulator, address: string): Promise<Record<string, string>> {
  const token = forge.registrationToken("");
  const request = { name: "fireteact-1", token, labels: ["ubuntu"], ephemeral: true };
  const answer = await send(`${forge.url}/api/actions/runner.v1.RunnerService/Register`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    dispatcher: new Agent({ connect: { ca: readFileSync(join(TLS, "ca.pem")) } }),
  });
  const { runner } = (await answer.body.json()) as { runner: { id: string; uuid: string; token: string } };
  const { id, uuid, token: secret } = runner;
  return { row: id, uuid, token: secret, address, labels: "ubuntu:host", ephemeral: "true" };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}
