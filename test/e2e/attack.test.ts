import { networkInterfaces } from "node:os";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { guestScript, resultIn } from "../support/e2e/guest-scripts.ts";
import { HOST_ADDRESS } from "../support/e2e/host.ts";
import { rootInitrd } from "../support/e2e/initrd.ts";
import { answers, connects, type HostListener, startHostListener } from "../support/e2e/listener.ts";
import { buildTestImage } from "../support/e2e/program.ts";
import { startWorld, type World } from "../support/e2e/world.ts";

let world: World;
let listener: HostListener;

const BRIDGE = "10.201.0.1";
const INNER_GATEWAY = "172.31.0.1";
const API = 18_731;
const METRICS = 18_732;

beforeAll(async () => {
  const image = await buildTestImage();
  listener = await startHostListener();
  world = await startWorld({
    image,
    config: { server: { address: `0.0.0.0:${API}`, metricsAddress: `0.0.0.0:${METRICS}` } },
    pools: [
      { name: "user", runner: { labels: ["e2e"] } },
      {
        name: "root",
        runner: { labels: ["root"] },
        qemu: { kernelPath: image.kernel, initrdPath: rootInitrd(image) },
      },
    ],
  });
});
afterEach(() => world.settled());
afterAll(async () => {
  await world?.close();
  await listener?.close();
});

type Results = Record<string, unknown>;
const isProbe = (name: string) => /^(tcp|udp|neighbour|root:) ?/.test(name) && !/control:|setup:/.test(name);

describe("a job that attacks", () => {
  it("reaches neither host nor neighbour, and registers nothing; as user and as root", async () => {
    const hosts = [HOST_ADDRESS, BRIDGE, INNER_GATEWAY, ...ownAddresses()];
    const ports = [listener.port, API, METRICS, 22];

    const victim = await world.push({ victim: [guestScript("victim", {})] });
    const victimLog = () => (victim.job("victim").attempts[0]?.log ?? []).map(({ content }) => content);
    await world.daemon.until("the victim", () => (victimLog().includes("the victim listens") ? true : undefined));
    const neighbour = await world.runner("the victim's runner", ({ status }) => status === "busy");

    const attack = {
      forge: world.forge.url,
      reachable: [HOST_ADDRESS, world.forge.port],
      hosts,
      ports,
      gateway: INNER_GATEWAY,
      bridge: BRIDGE,
      neighbour: neighbour.ip_address,
    };
    // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the workflow
    const env = { ATTACK: JSON.stringify(attack), TOKEN: "${{ github.token }}" };
    const run = await world.push({
      user: [guestScript("attack", env)],
      root: { "runs-on": "root", steps: [guestScript("attack", env)] },
    });
    await world.daemon.until("the attackers", () =>
      run.jobs().every(({ status }) => status !== "waiting") ? true : undefined,
    );
    // A job that waits: the attackers may try to get it.
    for (const pool of ["user", "root"]) await world.daemon.call("POST", `/api/v1/pools/${pool}/pause`);
    const bait = await world.push({
      user: [{ run: "echo bait" }],
      root: { "runs-on": "root", steps: [{ run: "echo bait" }] },
    });

    // Controls: from here everything is reached.
    for (const port of [listener.port, API, METRICS]) {
      for (const host of hosts.filter((address) => address !== INNER_GATEWAY)) {
        expect(`${host}:${port} ${await connects(host, port)}`).toBe(`${host}:${port} true`);
      }
    }
    expect(await answers(BRIDGE, listener.port)).toBe(true);
    const own = new Set([...hosts, "127.0.0.1"]);

    expect(await world.finished(run)).toEqual({ user: "success", root: "success" });
    for (const [job, uid] of [["user", 1001] as const, ["root", 0] as const]) {
      const results = resultIn(world.log(run, job)) as Results;
      const { id } = await world.closedRunner(run, job);
      expect(results).toMatchObject({ uid, "control: forge": 200, "control: metadata": id });
      const probes = Object.entries(results).filter(([name]) => isProbe(name));
      expect(probes.length).toBeGreaterThan(hosts.length * ports.length + 4);
      expect(probes.filter(([, result]) => String(result).startsWith("ok"))).toEqual([]);
      const controls = Object.entries(results).filter(([name]) => name.startsWith("root: control:"));
      expect(controls.length).toBe(job === "root" ? 2 : 0);
      for (const [, result] of controls) expect(result).toMatch(/^ok/);
      for (const [name, body] of Object.entries(results).filter(([key]) => key.startsWith("metadata at "))) {
        expect(`${name}: ${body}`).toContain(id);
        expect(`${name}: ${body}`).not.toContain(neighbour.vm_id);
        expect(`${name}: ${body}`).not.toContain('"credentials"');
      }
      expect(results["registerTried"]).toBeGreaterThan(0);
      expect(results["register"]).not.toContain(200);
      expect(results["registrationToken"]).toEqual(expect.not.arrayContaining([200, 201]));
      expect(results["secondJob"]).toBe(false);
    }
    expect(listener.visitors.filter((address) => !own.has(address))).toEqual([]);
    expect(victimLog().filter((line) => line.startsWith("VISITED"))).toEqual([]);
    expect(world.forge.runners("all").filter(({ name }) => !/^(user|root)-[0-9a-f]{24}$/.test(name))).toEqual([]);
    expect(world.forge.runners("all").map(({ tasks }) => tasks.length)).toEqual([1, 1, 1]);
    expect(bait.jobs().map(({ status, attempts }) => [status, attempts.length])).toEqual([
      ["waiting", 0],
      ["waiting", 0],
    ]);
    for (const { id } of [bait, victim]) world.forge.cancelRun(id);
  });
});

/** IPv4 addresses of this machine that are neither loopback nor made by the test. */
function ownAddresses(): string[] {
  return Object.entries(networkInterfaces())
    .filter(([name]) => !/^(lo|fte2e|fireteact|ftv)/.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ family }) => family === "IPv4")
    .map(({ address }) => address);
}
