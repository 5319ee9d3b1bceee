import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { DEFAULT_EGRESS, type EgressPolicy } from "../../../src/core/settings.ts";
import type { GuestNetwork } from "../../../src/network/port.ts";
import { type Actor, buildWorld, createLab, type Daemon, hex, type Lab, type Reply, tcp, WORLD } from "./lab.ts";

/** What guests reach under each policy, seen from inside of them. What the host itself reaches shows that it is there. */
let lab: Lab;
let daemon: Daemon;
let outside: Actor;
let host: Actor;
let usual: Actor;
let open: Actor;
let closed: Actor;

const METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16"];
const SITES = ["203.0.113.20", "203.0.113.21", "203.0.113.22"] as const;
const LARGE = 1_200;
const FORGE = { host: WORLD.neighbour, port: 3000 };
const HOST_PORT = 5000;
const list = (...allow: EgressPolicy["allow"]): EgressPolicy => ({ reach: "allow-list", allow, rates: {} });
const at = (host: string, port: number) => ({ host, ports: [port, port] as [number, number] });
const CLOSED = list(
  at(SITES[0], 80),
  at("site.test", 80),
  at("inside.test", 80),
  at("100.64.0.0/10", 80),
  at(WORLD.gateway, HOST_PORT),
  at("192.168.0.0/16", HOST_PORT),
);
const POOLS = {
  usual: DEFAULT_EGRESS,
  open: { reach: "open", allow: [], rates: {} },
  closed: CLOSED,
} satisfies Record<string, EgressPolicy>;

/** For what is expected not to answer at all. */
const briefly = (guest: Actor, host: string, port: number) => guest.call<Reply>("tcp", host, port, "", 0.4, null);

const REFUSED = { ok: false, error: "[Errno 113] No route to host" };
const allow = (pools: Record<string, EgressPolicy>): Promise<void> => daemon.call("allow", { allow: [FORGE], pools });
const guestOf = async (number: number, pool: string): Promise<Actor> =>
  await lab.guest(await daemon.call<GuestNetwork>("attach", hex(number), pool));

beforeAll(async () => {
  lab = await createLab();
  outside = await buildWorld(lab);
  host = await lab.actor();
  const more = [...METADATA, ...SITES];
  await lab.runIn("outside", "sh", "-c", more.map((address) => `ip addr add ${address}/32 dev lo`).join(" && "));
  await lab.run("sh", "-c", METADATA.map((address) => `ip route add ${address} via ${WORLD.internet}`).join(" && "));
  await lab.run("sh", "-c", SITES.map((address) => `ip route add ${address} via ${WORLD.internet}`).join(" && "));
  for (const port of [8082, HOST_PORT]) await host.call("listen", "0.0.0.0", port);
  await outside.call("zone", WORLD.neighbour, { "site.test": [SITES[1]], "inside.test": [WORLD.neighbour] });
  daemon = lab.daemon({ nameservers: [WORLD.neighbour], watchEvery: 200 });
  await allow(POOLS);
  await daemon.call("prepare");
  usual = await guestOf(1, "usual");
  open = await guestOf(2, "open");
  closed = await guestOf(3, "closed");
});
afterAll(async () => {
  await lab.close();
});

describe("under every policy a guest", () => {
  const guests = (): Actor[] => [usual, open, closed];

  it("reaches the forge and its name server", async () => {
    for (const guest of guests()) {
      expect(await tcp(guest, FORGE.host, FORGE.port)).toMatchObject({ ok: true });
      expect(await tcp(guest, WORLD.neighbour, 53)).toMatchObject({ ok: true });
    }
  });

  it.each(METADATA)("does not reach the cloud's metadata at %s", async (address) => {
    expect(await tcp(host, address, 3000)).toMatchObject({ ok: true });
    for (const guest of guests()) {
      expect(await briefly(guest, address, 3000)).toMatchObject({ ok: false });
      // At the first of them a guest finds its own, and no other's.
      expect((await briefly(guest, address, 80)).reply ?? "").not.toContain("hello");
    }
  });

  it("does not reach this host, nor other guests", async () => {
    for (const guest of guests()) {
      for (const address of [WORLD.gateway, WORLD.hostPublic, WORLD.hostPrivate]) {
        expect(await briefly(guest, address, 8082)).toMatchObject({ ok: false });
      }
      for (const other of ["10.201.0.2", "10.201.0.6"])
        expect(await briefly(guest, other, 80)).toMatchObject({ ok: false });
    }
  });
});

describe("a guest reaches", () => {
  it("the internet and no private network, with internet-only; it is told at once", async () => {
    expect(await tcp(usual, WORLD.internet, 80)).toMatchObject({ ok: true });
    expect(await tcp(usual, WORLD.neighbour, 80)).toEqual(REFUSED);
    expect(await briefly(usual, WORLD.gateway, HOST_PORT)).toMatchObject({ ok: false });
  });

  it("private networks too, with open", async () => {
    expect(await tcp(open, WORLD.internet, 80)).toMatchObject({ ok: true });
    expect(await tcp(open, WORLD.neighbour, 80)).toMatchObject({ ok: true });
    expect(await briefly(open, WORLD.gateway, HOST_PORT)).toMatchObject({ ok: false });
  });

  it("what is listed and nothing else, with allow-list", async () => {
    expect(await tcp(closed, SITES[0], 80)).toMatchObject({ ok: true });
    expect(await tcp(closed, SITES[0], 3000)).toEqual(REFUSED);
    expect(await tcp(closed, SITES[2], 80)).toEqual(REFUSED);
    expect(await tcp(closed, WORLD.internet, 80)).toEqual(REFUSED);
    expect(await closed.call<Reply>("udp", WORLD.internet, 3000)).toMatchObject({ ok: false });
  });

  it("a port of this host that is listed by its exact address, and not by a network that this host is in", async () => {
    expect(await tcp(closed, WORLD.gateway, HOST_PORT)).toMatchObject({ ok: true });
    expect(await briefly(closed, WORLD.hostPrivate, HOST_PORT)).toMatchObject({ ok: false });
  });

  it("a listed name where it is, and after it moved, before its old address is forgotten", async () => {
    expect(await tcp(closed, SITES[1], 80)).toMatchObject({ ok: true });
    expect(await tcp(closed, SITES[2], 80)).toEqual(REFUSED);
    await outside.call("zone", WORLD.neighbour, { "site.test": [SITES[2]], "inside.test": [WORLD.neighbour] });
    await vi.waitFor(async () => expect(await tcp(closed, SITES[2], 80)).toMatchObject({ ok: true }), 20_000);
    expect(await tcp(closed, SITES[1], 80)).toMatchObject({ ok: true });
  });

  it("no private address that a listed name was given", async () => {
    expect(await tcp(closed, WORLD.neighbour, 80)).toEqual(REFUSED);
    expect(daemon.log()).toContain(`has the private address ${WORLD.neighbour}`);
  });
});

describe("a policy", () => {
  it("that changes counts at once for guests that run", async () => {
    await allow({ ...POOLS, usual: list() });
    expect(await tcp(usual, WORLD.internet, 80)).toEqual(REFUSED);
    await allow(POOLS);
    expect(await tcp(usual, WORLD.internet, 80)).toMatchObject({ ok: true });
  });

  it("of a pool that is gone stays with its guests, also for the next daemon", async () => {
    const { closed: _, ...rest } = POOLS;
    await daemon.kill();
    daemon = lab.daemon({ nameservers: [WORLD.neighbour], watchEvery: 200 });
    await daemon.call("prepare");
    await allow(rest);
    expect(await tcp(closed, SITES[0], 80)).toMatchObject({ ok: true });
    expect(await tcp(closed, WORLD.internet, 80)).toEqual(REFUSED);
    expect(await tcp(usual, WORLD.internet, 80)).toMatchObject({ ok: true });
    await allow(POOLS);
  });

  it("is put back when another program takes a guest out of it", async () => {
    const listing = () => lab.run("nft", "list", "table", "inet", "fireteact");
    const [, index] = /set guests_(\d+) \{[^}]*\{[^}]*10\.201\.0\.2\b/.exec(await listing()) ?? [];
    await lab.nft(`delete element inet fireteact guests_${index} { 10.201.0.2 }\n`);
    await vi.waitFor(async () => expect(await tcp(usual, WORLD.internet, 80)).toMatchObject({ ok: true }), 20_000);
    expect(daemon.log()).toContain("are put back");
  });
});

describe("a guest's network", () => {
  const limited = { uploadMbit: 2, downloadMbit: 2, connectionsPerSecond: 5 };
  const bytesIn = (seconds: number): number => 128 * 1024 + (1 + seconds) * 250_000;
  let slow: Actor;
  beforeAll(async () => {
    await allow({ ...POOLS, slow: { ...DEFAULT_EGRESS, rates: limited } });
    slow = await guestOf(4, "slow");
    await outside.call("fountain", WORLD.internet, 7000, 1_500);
    await outside.call("sniff", "eth0");
  });

  it("has no limit unless one is configured", async () => {
    expect(await usual.call<{ count: number }>("drink", WORLD.internet, 7000)).toMatchObject({ count: 1_500 });
  });

  it("sends no more than its limit", async () => {
    const seconds = await slow.call<number>("flood", [WORLD.internet, 7001], 1_500);
    const arrived = () => outside.call<number>("seen", "f14e".repeat(300));
    let last = -1;
    await vi.waitFor(async () => {
      const now = await arrived();
      expect(now).toBe([last, (last = now)][0]);
    }, 10_000);
    // What the fountain sent in the test before is not seen: only what comes in is.
    expect(last * LARGE).toBeGreaterThan(100_000);
    expect(last * LARGE).toBeLessThan(bytesIn(seconds) * 1.1 + 50_000);
    expect(last).toBeLessThan(1_500);
  });

  it("receives no more than its limit", async () => {
    const { count, seconds } = await slow.call<{ count: number; seconds: number }>("drink", WORLD.internet, 7000);
    expect(count * LARGE).toBeGreaterThan(100_000);
    expect(count * LARGE).toBeLessThan(bytesIn(seconds) * 1.1 + 50_000);
    expect(count).toBeLessThan(1_500);
  });

  it("opens no more connections than its limit, those to the forge not counted", async () => {
    const tries = 40;
    const start = performance.now();
    let opened = 0;
    let forge = 0;
    for (let number = 0; number < tries; number++) {
      if ((await slow.call<Reply>("tcp", WORLD.internet, 80, "", 0.05, null)).ok) opened++;
      if ((await tcp(slow, FORGE.host, FORGE.port)).ok) forge++;
    }
    expect(forge).toBe(tries);
    expect(opened).toBeGreaterThan(0);
    expect(opened).toBeLessThanOrEqual(10 + Math.ceil(((performance.now() - start) / 1_000) * 5));
  });
});
