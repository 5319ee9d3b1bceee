import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ConnectProxy, startConnectProxy } from "../support/connect-proxy.ts";
import { addHostAddress, HOST_ADDRESS } from "../support/e2e/host.ts";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

const fixtures = join(import.meta.dirname, "../support/e2e/tls");
const caFile = join(fixtures, "ca.pem");
const pem = (name: string) => readFileSync(join(fixtures, name), "utf8");
const tls = { key: pem("server.key"), cert: pem("server.pem") };

const BASE_PATH = "/git";
// It is written into the image, which is kept for the next run.
const PROXY_PORT = 18_733;
const FORGE_PORT = 18_734;

/** Git, Node and the engine itself, each with its own way to trust and to find a proxy. */
const STEPS = [
  { uses: "actions/checkout@v4" },
  { run: "cat name.txt" },
  {
    shell: "node",
    run: "fetch(process.env.GITHUB_SERVER_URL + '/api/v1/version').then(async (answer) => console.log('node got', await answer.text()))",
  },
];

async function runsJob(world: World): Promise<void> {
  const run = await world.push({ job: STEPS });
  expect(await world.finished(run)).toEqual({ job: "success" });
  expect(world.log(run, "job")).toContain("acme/site\n");
  expect(world.log(run, "job")).toMatch(/node got .*1\.25\.1/);
  expect(run.job("job").attempts).toMatchObject([{ endedBy: "runner" }]);
}

describe("a forge with a certificate of a private authority, on a sub-path", () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld({
      image: await buildTestImage("private-ca", { caFiles: [caFile] }),
      forge: { tls, basePath: BASE_PATH },
      gitea: { caFile },
      pools: [{ name: "pool" }],
    });
  });
  afterEach(() => world.settled());
  afterAll(() => world?.close());

  it("is used by daemon, engine, git and node", async () => {
    expect(world.forge.url).toMatch(/^https:\/\/10\.202\.1\.1:\d+\/git$/);
    await runsJob(world);
  });
});

describe("the same behind a proxy, by a name that only the proxy knows", () => {
  let world: World;
  let proxy: ConnectProxy;

  beforeAll(async () => {
    const proxyUrl = `http://${HOST_ADDRESS}:${PROXY_PORT}`;
    const url = `https://forge.test:${FORGE_PORT}${BASE_PATH}`;
    const image = await buildTestImage("proxy", { caFiles: [caFile], env: { https_proxy: proxyUrl } });
    await addHostAddress();
    proxy = await startConnectProxy({ host: HOST_ADDRESS, port: PROXY_PORT });
    world = await startWorld({
      image,
      // Guests cannot reach the host's loopback.
      forge: { tls, basePath: BASE_PATH, host: "127.0.0.1", port: FORGE_PORT, publicUrl: url },
      instanceUrl: () => url,
      gitea: { caFile, proxy: proxyUrl },
      pools: [{ name: "pool" }],
    });
  });
  afterEach(() => world.settled());
  afterAll(async () => {
    await world?.close();
    await proxy?.close();
  });

  it("is used by daemon, engine, git and node", async () => {
    await runsJob(world);
    expect(new Set(proxy.seen)).toEqual(new Set([`forge.test:${FORGE_PORT}`]));
  });
});
