import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { ignore } from "../../../src/base/errors.ts";
import { splitGuests } from "../../../src/network/embedded/policy-rules.ts";
import type { GuestNetwork } from "../../../src/network/port.ts";
import {
  type Actor,
  buildWorld,
  createLab,
  type Daemon,
  hex,
  type Lab,
  tcp,
  WORLD,
} from "../../integration/network/lab.ts";

/** What other programs do to a host's networks, and how long it lasts. Every host is a namespace of the test's own. */
let lab: Lab;
beforeEach(async () => {
  lab = await createLab();
});
afterEach(async () => {
  await lab.close();
});

const QUIET = { nameservers: ["192.0.2.53"] };
/** A look every 200 ms instead of every 10 s; the monitor needs no look. */
const OFTEN = { ...QUIET, watchEvery: 200 };
/** So rarely that only the monitor, or a hand-out, can have noticed. */
const SELDOM = { ...QUIET, watchEvery: 600_000, freshFor: 0 };
const SSH = 2222;

/** Our tables, without what packets put into sets, and without who is in the sets of guests: places are made all the time. */
const hostRules = async (): Promise<string> => splitGuests(await listing()).rest;
const listing = (): Promise<string> =>
  lab.run(
    "sh",
    "-c",
    "{ nft -s -a list table inet fireteact && nft -s -a list table bridge fireteact; } | sed -E 's/ # handle [0-9]+$//; /timeout|expires/d'",
  );
const rulesIn = (namespace: string): Promise<string> => lab.runIn(namespace, "nft", "-s", "list", "ruleset");
const warnings = (daemon: Daemon, text: string): number => daemon.log().split(text).length - 1;

async function hostWithGuest(settings: Record<string, unknown>): Promise<{ daemon: Daemon; guest: Actor }> {
  await buildWorld(lab);
  const host = await lab.actor();
  await host.call("listen", "0.0.0.0", SSH);
  const daemon = lab.daemon(settings);
  await daemon.call("prepare");
  const guest = await lab.guest(await daemon.call<GuestNetwork>("attach", hex(1)));
  expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
  expect(await tcp(guest, WORLD.gateway, SSH)).toMatchObject({ ok: false });
  return { daemon, guest };
}

describe("the host's rules", () => {
  it.each([
    ["a reload of the host's firewall", "nft flush ruleset", 0],
    ["the deletion of one of our tables", "nft delete table inet fireteact", 0],
    ["a flush of our rules", "nft flush table inet fireteact", 0],
    ["the deletion of a rule's set elements", "nft flush set inet fireteact private", 200],
  ])("come back after %s, and shut the guest in again", async (_, command, watchEvery) => {
    const { daemon, guest } = await hostWithGuest(watchEvery === 0 ? SELDOM : OFTEN);
    const before = await hostRules();
    await lab.run("sh", "-c", command);
    await expect.poll(() => hostRules().catch(String), { timeout: 5_000, interval: 20 }).toBe(before);
    expect(await tcp(guest, WORLD.gateway, SSH)).toMatchObject({ ok: false });
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
    expect(warnings(daemon, "another program removed the network rules")).toBe(1);
  });

  it("are there again before the next guest is handed out, also where no monitor runs", async () => {
    await lab.run(
      "sh",
      "-c",
      "mkdir /run/bin; for n in ip nft nsenter sh; do ln -s $(command -v $n) /run/bin/$n; done",
    );
    const daemon = lab.daemon(SELDOM, ["env", "PATH=/run/bin"]);
    await daemon.call("prepare");
    const before = await hostRules();
    await lab.run("nft", "flush", "ruleset");
    await daemon.call("attach", hex(1));
    expect(await hostRules()).toBe(before);
  });

  it("are left as they are while nobody touches them", async () => {
    const daemon = lab.daemon({ ...QUIET, watchEvery: 50 });
    await daemon.call("prepare");
    const network = await daemon.call<GuestNetwork>("attach", hex(1));
    const guest = await lab.guest(network);
    const generation = async (): Promise<string> => lab.run("sh", "-c", "nft -a list ruleset | grep handle");
    // Packets and their counts change nothing that is looked at.
    await tcp(guest, WORLD.gateway, 1780);
    await daemon.call("list");
    const before = await generation();
    const until = performance.now() + 1_000;
    await expect.poll(() => performance.now(), { timeout: 5_000 }).toBeGreaterThan(until);
    expect(await generation()).toBe(before);
    expect(daemon.log()).not.toContain("another program");
  });
});

describe("the rules inside a guest's namespace", () => {
  it.each([
    ["flushed", "nft flush ruleset"],
    ["changed", "nft add rule inet fireteact output accept"],
  ])("come back when they were %s, for guests and for networks made ahead", async (_, command) => {
    const { daemon, guest } = await hostWithGuest(OFTEN);
    await daemon.call("attach", hex(2));
    const names = ["ft-abcdef-0", "ft-abcdef-2"];
    const before = await Promise.all(names.map(rulesIn));
    for (const name of names) await lab.runIn(name, "sh", "-c", command);
    await expect.poll(() => Promise.all(names.map(rulesIn)), { timeout: 5_000 }).toEqual(before);
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
    expect(warnings(daemon, "another program changed guests' networks")).toBeLessThanOrEqual(2);
  });

  it("are there before a network that was made ahead is handed out", async () => {
    const daemon = lab.daemon({ ...SELDOM, ahead: 1 });
    await daemon.call("prepare");
    const before = await rulesIn("ft-abcdef-0");
    await lab.runIn("ft-abcdef-0", "nft", "flush", "ruleset");
    expect(await daemon.call("attach", hex(1))).toMatchObject({ namespace: "/run/netns/ft-abcdef-0" });
    expect(await rulesIn("ft-abcdef-0")).toBe(before);
  });
});

describe("a network that was looked at a moment ago", () => {
  it("is handed out as it is, since nobody should wait, and put right by the next look", async () => {
    const daemon = lab.daemon({ ...QUIET, watchEvery: 2_000, ahead: 1 });
    await daemon.call("prepare");
    const before = await rulesIn("ft-abcdef-0");
    await lab.runIn("ft-abcdef-0", "nft", "flush", "ruleset");
    await daemon.call("attach", hex(1));
    await expect.poll(() => rulesIn("ft-abcdef-0"), { timeout: 10_000 }).toBe(before);
  });
});

describe("a part that was deleted", () => {
  it("of a network made ahead: it is made anew, and never handed out as it is", async () => {
    const daemon = lab.daemon({ ...SELDOM, ahead: 4 });
    await daemon.call("prepare");
    await lab.run("ip", "netns", "del", "ft-abcdef-0");
    await lab.run("ip", "link", "del", "ftv1");
    await lab.runIn("ft-abcdef-2", "ip", "link", "del", "tap0");
    const network = await daemon.call<GuestNetwork>("attach", hex(1));
    expect(network.namespace).toBe("/run/netns/ft-abcdef-3");
    expect(await lab.guest(network)).toBeDefined();
    expect(warnings(daemon, "damaged a network that was made ahead")).toBe(3);
  });

  it("of networks made ahead: the pool heals by itself", async () => {
    const daemon = lab.daemon({ ...OFTEN, ahead: 3 });
    await daemon.call("prepare");
    await lab.run("ip", "netns", "del", "ft-abcdef-0");
    await lab.run("ip", "link", "del", "ftv1");
    await lab.runIn("ft-abcdef-2", "ip", "link", "del", "tap0");
    const sound = async (): Promise<number> => {
      const taps = await lab.run(
        "sh",
        "-c",
        "for n in /run/netns/ft-*; do ip netns exec ${n##*/} ip -o link show tap0; done 2>/dev/null; true",
      );
      const ports = await lab.run("sh", "-c", "ip -o link show master fireteact0");
      return Math.min(taps.trim().split("\n").length, ports.trim().split("\n").length);
    };
    await expect.poll(sound, { timeout: 10_000 }).toBe(3);
  });

  it("the bridge: guests in use go on as soon as it is back", async () => {
    const { daemon, guest } = await hostWithGuest(OFTEN);
    await lab.run("ip", "link", "del", "fireteact0");
    await expect.poll(() => tcp(guest, WORLD.internet, 80), { timeout: 10_000 }).toMatchObject({ ok: true });
    expect(await tcp(guest, WORLD.gateway, SSH)).toMatchObject({ ok: false });
    const other = await lab.guest(await daemon.call<GuestNetwork>("attach", hex(2)));
    expect(await tcp(other, WORLD.internet, 80)).toMatchObject({ ok: true });
    expect(await tcp(guest, "10.201.0.3", 9)).toMatchObject({ ok: false });
    expect(daemon.log()).toContain("the bridge");
  });

  it("a guest's port: another is put in its place around it", async () => {
    const { daemon, guest } = await hostWithGuest(OFTEN);
    await lab.run("ip", "link", "del", "ftv0");
    await expect.poll(() => tcp(guest, WORLD.internet, 80), { timeout: 10_000 }).toMatchObject({ ok: true });
    expect(await tcp(guest, WORLD.gateway, SSH)).toMatchObject({ ok: false });
    expect(daemon.log()).not.toContain("a guest's network is gone");
  });

  it("a port's isolation: it is isolated again", async () => {
    const { guest } = await hostWithGuest(OFTEN);
    await lab.run("ip", "link", "set", "ftv0", "nomaster");
    await lab.run("ip", "link", "set", "ftv1", "type", "bridge_slave", "isolated", "off");
    const isolated = (): Promise<string> => lab.run("sh", "-c", "ip -d link show type veth | grep -c 'isolated on'");
    await expect.poll(isolated, { timeout: 5_000 }).toBe("5\n");
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
  });

  it("the name of a guest's namespace: it is named again after its monitor, and the guest goes on", async () => {
    const daemon = lab.daemon(OFTEN);
    await daemon.call("prepare");
    const network = await daemon.call<GuestNetwork>("attach", hex(1));
    const monitor = await monitorIn(network);
    await lab.run("ip", "netns", "del", "ft-abcdef-0");
    await expect.poll(() => daemon.log(), { timeout: 5_000 }).toContain("the name ft-abcdef-0");
    expect(await lab.runIn("ft-abcdef-0", "ip", "-o", "link", "show", "tap0")).toContain("tap0");
    expect(daemon.log()).not.toContain("a guest's network is gone");
    end(monitor);
  });

  it("a guest's tap: that guest is lost, which is told once, and no other", async () => {
    const { daemon, guest } = await hostWithGuest(OFTEN);
    await daemon.call("attach", hex(2));
    await lab.runIn("ft-abcdef-1", "ip", "link", "del", "tap0");
    await expect.poll(() => daemon.log(), { timeout: 5_000 }).toContain("a guest's network is gone");
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
    await daemon.call("release", hex(2));
    expect(warnings(daemon, "a guest's network is gone")).toBe(1);
    expect(daemon.log()).toContain("its interface tap0 in ft-abcdef-1 was deleted by another program");
    expect(daemon.log()).toContain(hex(2));
    await daemon.call("close", true);
  });
});

describe("the addresses", () => {
  it("are all in use: said at once, without anything made or left, and free again with the first release", async () => {
    const daemon = lab.daemon({ ...QUIET, subnet: "10.201.0.0/29", ahead: 2 });
    await daemon.call("prepare");
    for (let guest = 1; guest <= 5; guest++) await daemon.call("attach", hex(guest));
    const last = await daemon.call<GuestNetwork>("find", hex(3));
    const before = await lab.leftovers();
    for (let tries = 0; tries < 3; tries++) {
      await expect(daemon.call("attach", hex(9))).rejects.toThrow("NETWORK_EXHAUSTED");
      expect(daemon.lastMs()).toBeLessThan(1_000);
    }
    expect(await lab.leftovers()).toEqual(before);
    await daemon.call("release", hex(3));
    expect(await daemon.call("attach", hex(9))).toEqual(last);
  });
});

/** Stands for a monitor: a process of the slot's user in its namespace. */
async function monitorIn(network: GuestNetwork): Promise<number> {
  const owner = String(network.owner);
  const command = `nsenter --net=${network.namespace} -- setpriv --reuid=${owner} --regid=${owner} --clear-groups sleep 60 >/dev/null 2>&1 & echo $!`;
  const pid = Number(await lab.run("sh", "-c", command));
  onTestFinished(() => end(pid));
  return pid;
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    ignore("ESRCH")(error);
  }
}
