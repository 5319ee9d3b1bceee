import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestNetwork } from "../../../src/network/port.ts";
import { type Actor, buildWorld, createLab, type Daemon, hex, type Lab, type Reply, tcp, WORLD } from "./lab.ts";
import { ALL, arpFrame, ip, ipv6Frame, MARK, udpFrame } from "./packets.ts";

/**
 * Two guests on one host. The first is hostile; the tests called "control" take a wall away and show that the same
 * attack then arrives, so that each refusal is known to be the wall's doing.
 */
let lab: Lab;
let daemon: Daemon;
let outside: Actor;
let host: Actor;
let mine: GuestNetwork;
let theirs: GuestNetwork;
/** The hostile guest and its victim. */
let guest: Actor;
let victim: Actor;
/** A root shell in the hostile guest's namespace: worse than a VMM that was taken over. */
let captor: Actor;

const API_PORT = 8082;
const FORGES = [
  { host: WORLD.neighbour, port: 3000 },
  { host: WORLD.gateway, port: 3001 },
];
const request = (path: string): string => `GET ${path} HTTP/1.1\r\nAccept: text/plain\r\n\r\n`;
const READ_NAME = request("/latest/name");

beforeAll(async () => {
  lab = await createLab();
  outside = await buildWorld(lab);
  host = await lab.actor();
  daemon = lab.daemon({ nameservers: [WORLD.neighbour], watchEvery: 0 });
  await daemon.call("allow", { allow: FORGES });
  await daemon.call("prepare");
  mine = await daemon.call("attach", hex(1));
  theirs = await daemon.call("attach", hex(2));
  await daemon.call("publish", hex(1), { latest: { name: "mine" } });
  await daemon.call("publish", hex(2), { latest: { name: "theirs" } });
  for (const port of [API_PORT, 3001, 5353]) await host.call("listen", "0.0.0.0", port);
  guest = await lab.guest(mine);
  victim = await lab.guest(theirs);
  await victim.call("listen", "0.0.0.0", 9000);
  captor = await lab.actor(nameOf(mine));
  // The world is there, and the walls are not what hides it.
  for (const port of [80, 3000]) {
    expect(await tcp(host, WORLD.neighbour, port)).toMatchObject({ ok: true });
  }
});
afterAll(async () => {
  await lab.close();
});

const nameOf = (network: GuestNetwork): string => network.namespace.split("/").at(-1) ?? "";

describe("a guest reaches", () => {
  it("the internet, as the host", async () => {
    expect(await tcp(guest, WORLD.internet, 80)).toEqual({ ok: true, reply: `hello ${WORLD.hostPublic}` });
    expect(await guest.call("udp", WORLD.internet, 53)).toEqual({ ok: true, reply: `hello ${WORLD.hostPublic}` });
  });

  it("the forge in a private network, at its port", async () => {
    expect(await tcp(guest, WORLD.neighbour, 3000)).toEqual({ ok: true, reply: `hello ${WORLD.hostPrivate}` });
  });

  it("the forge on this host, at its port", async () => {
    expect(await tcp(guest, WORLD.gateway, 3001)).toEqual({ ok: true, reply: `hello ${mine.hostAddress}` });
  });

  it("a forge whose port a container engine publishes, once it is allowed", async () => {
    const published = `table ip engine {
      chain publish {
        type nat hook prerouting priority dstnat
        ip daddr ${WORLD.hostPublic} tcp dport 3002 dnat to ${WORLD.neighbour}:80
      }
    }\n`;
    await lab.nft(published);
    expect(await tcp(guest, WORLD.hostPublic, 3002)).toMatchObject({ ok: false });
    await daemon.call("allow", { allow: [...FORGES, { host: WORLD.hostPublic, port: 3002 }] });
    expect(await tcp(guest, WORLD.hostPublic, 3002)).toMatchObject({ ok: true });
    expect(await tcp(guest, WORLD.neighbour, 80)).toMatchObject({ ok: false });
    await daemon.call("allow", { allow: FORGES });
    await lab.run("nft", "delete", "table", "ip", "engine");
  });

  it("its name server, at port 53", async () => {
    expect(await guest.call("udp", WORLD.neighbour, 53)).toMatchObject({ ok: true });
    expect(await tcp(guest, WORLD.neighbour, 53)).toMatchObject({ ok: true });
  });

  it("its own metadata", async () => {
    expect(await tcp(guest, "169.254.169.254", 80, READ_NAME)).toMatchObject({
      reply: expect.stringMatching(/\r\n\r\nmine$/),
    });
    expect(await tcp(victim, "169.254.169.254", 80, READ_NAME)).toMatchObject({
      reply: expect.stringMatching(/\r\n\r\ntheirs$/),
    });
  });

  it("its own metadata also by a route without a gateway", async () => {
    await guest.call("run", ["ip", "route", "add", "169.254.169.254", "dev", "eth0"]);
    expect(await tcp(guest, "169.254.169.254", 80, READ_NAME)).toMatchObject({
      reply: expect.stringMatching(/\r\n\r\nmine$/),
    });
    await guest.call("run", ["ip", "route", "del", "169.254.169.254"]);
  });
});

describe("a guest does not reach", () => {
  const rows: [what: string, host: string, port: number][] = [
    ["the host's API on the bridge", WORLD.gateway, API_PORT],
    ["the host's API on its private address", WORLD.hostPrivate, API_PORT],
    ["the host's API on its public address", WORLD.hostPublic, API_PORT],
    ["another port of the forge's address", WORLD.neighbour, 80],
    ["the forge's port on another address of the host", WORLD.hostPrivate, 3001],
  ];
  it.each(rows)("%s", async (_, address, port) => {
    expect(await tcp(guest, address, port)).toMatchObject({ ok: false });
  });

  it("the host's UDP services", async () => {
    expect(await guest.call("udp", WORLD.gateway, 5353)).toMatchObject({ ok: false });
  });

  it("another guest", async () => {
    expect(await tcp(guest, theirs.hostAddress, 9000)).toMatchObject({ ok: false });
    expect(await guest.call("udp", theirs.hostAddress, 9000)).toMatchObject({ ok: false });
  });

  it("what else is at the metadata address, or the metadata of the host's own cloud", async () => {
    await lab.runIn("outside", "ip", "addr", "add", "169.254.169.254/32", "dev", "eth0");
    await lab.run("ip", "route", "add", "169.254.169.254", "via", WORLD.neighbour);
    expect(await tcp(host, "169.254.169.254", 3000)).toMatchObject({ ok: true });
    expect(await tcp(guest, "169.254.169.254", 3000)).toMatchObject({ ok: false });
    expect(await tcp(guest, "169.254.169.254", 80, READ_NAME)).toMatchObject({
      reply: expect.stringContaining("mine"),
    });
  });

  it("control: what it did not reach is there without the host's rules", async () => {
    const rules = await lab.run("nft", "list", "table", "inet", "fireteact");
    await lab.run("nft", "delete", "table", "inet", "fireteact");
    for (const [, address, port] of rows) expect(await tcp(guest, address, port)).toMatchObject({ ok: true });
    expect(await guest.call("udp", WORLD.gateway, 5353)).toMatchObject({ ok: true });
    await lab.nft(rules);
    expect(await tcp(guest, WORLD.gateway, API_PORT)).toMatchObject({ ok: false });
  });
});

describe("a neighbour's metadata", () => {
  it("is not served to a guest that asks the listener itself", async () => {
    expect(await tcp(guest, WORLD.gateway, 1780, READ_NAME)).toMatchObject({ reply: expect.stringMatching(/mine$/) });
  });

  it("is not served to a namespace that takes the neighbour's address; control: it is without the bridge's rules", async () => {
    const mac = macOf(mine).replaceAll(/(..)(?=.)/g, "$1:");
    await lab.runIn(nameOf(mine), "nft", "delete", "table", "inet", "fireteact");
    await captor.call("run", ["ip", "addr", "add", `${theirs.hostAddress}/32`, "dev", "uplink"]);
    await lab.run("ip", "neigh", "replace", theirs.hostAddress, "lladdr", mac, "dev", "fireteact0", "nud", "permanent");
    const steal = (): Promise<Reply> => tcp(captor, WORLD.gateway, 1780, READ_NAME, theirs.hostAddress);

    expect(await steal()).toMatchObject({ ok: false });
    await withoutBridgeRules(async () => {
      expect(await steal()).toMatchObject({ reply: expect.stringMatching(/theirs$/) });
    });
    expect(await steal()).toMatchObject({ ok: false });

    await lab.run("ip", "neigh", "del", theirs.hostAddress, "dev", "fireteact0");
    await captor.call("run", ["ip", "addr", "del", `${theirs.hostAddress}/32`, "dev", "uplink"]);
    await renew();
  });
});

describe("frames", () => {
  const GUEST = "02f7ac1f0002";
  const TAP = "02f7ac1f0001";

  const rows: [what: string, frame: () => string][] = [
    ["from another source address", () => udpFrame({ to: TAP, from: GUEST, source: theirs.hostAddress })],
    ["from the host's address", () => udpFrame({ to: TAP, from: GUEST, source: WORLD.gateway })],
    ["from another source MAC", () => udpFrame({ to: TAP, from: "02f700000001", source: "172.31.0.2" })],
    ["to the neighbour's MAC", () => udpFrame({ to: macOf(theirs), from: GUEST, source: "172.31.0.2" })],
    ["to everybody", () => udpFrame({ to: ALL, from: GUEST, source: "172.31.0.2", destination: "255.255.255.255" })],
    ["of no known protocol", () => `${ALL}${GUEST}88b5${MARK}${"00".repeat(40)}`],
    ["with a VLAN tag", () => udpFrame({ to: TAP, from: GUEST, source: "172.31.0.2", tag: "81000001" })],
    ["of IPv6 to all nodes of the link", () => ipv6Frame(GUEST)],
    [
      "of ARP that asks for the neighbour",
      () => arpFrame({ operation: "0001", from: GUEST, sender: "172.31.0.2", target: theirs.hostAddress }),
    ],
    [
      "of ARP that claims the gateway",
      () => arpFrame({ operation: "0002", from: GUEST, sender: WORLD.gateway, target: WORLD.gateway }),
    ],
  ];

  beforeAll(async () => {
    await host.call("sniff", "fireteact0");
    await captor.call("sniff", "uplink");
  });

  it.each(rows)("that a guest sends %s arrive nowhere", async (_, frame) => {
    const before = await arrivals();
    await guest.call("send", frame());
    await everythingArrived();
    expect(await arrivals()).toEqual(before);
  });

  it("control: a proper one arrives", async () => {
    const before = await arrivals();
    await guest.call("send", udpFrame({ to: TAP, from: GUEST, source: "172.31.0.2", destination: WORLD.gateway }));
    await everythingArrived();
    expect((await arrivals()).onHost).toBe(before.onHost + 1);
  });

  it("control: ARP for the gateway is answered, for a neighbour not", async () => {
    const answersBefore = await guest.call<number>("seen", `0806000108000604000202f7ac1f0001${ip("172.31.0.1")}`);
    await guest.call("send", arpFrame({ operation: "0001", from: GUEST, sender: "172.31.0.2", target: "172.31.0.1" }));
    await guest.call(
      "send",
      arpFrame({ operation: "0001", from: GUEST, sender: "172.31.0.2", target: mine.hostAddress }),
    );
    await everythingArrived();
    expect(await guest.call("seen", `0806000108000604000202f7ac1f0001${ip("172.31.0.1")}`)).toBe(answersBefore + 1);
    expect(await guest.call("seen", `0806000108000604000202f7ac1f0001${ip(mine.hostAddress)}`)).toBe(0);
  });

  describe("out of a namespace that was taken over", () => {
    const own = (): string => macOf(mine);
    const attacks: [what: string, frame: () => string][] = [
      [
        "with the neighbour's address",
        () => udpFrame({ to: BRIDGE, from: own(), source: theirs.hostAddress, destination: WORLD.gateway }),
      ],
      [
        "with the neighbour's MAC and address",
        () => udpFrame({ to: BRIDGE, from: macOf(theirs), source: theirs.hostAddress, destination: WORLD.gateway }),
      ],
      [
        "of ARP that claims the neighbour's address",
        () => arpFrame({ operation: "0002", from: own(), sender: theirs.hostAddress, target: WORLD.gateway }),
      ],
      [
        "of ARP that claims the gateway",
        () => arpFrame({ operation: "0002", from: own(), sender: WORLD.gateway, target: WORLD.gateway }),
      ],
      ["of IPv6", () => ipv6Frame(own())],
      ["of no known protocol", () => `${ALL}${own()}88b5${MARK}${"00".repeat(40)}`],
    ];
    const BRIDGE = "02f7ff000001";

    it.each(attacks)("%s do not reach the host; control: they do without the bridge's rules", async (_, frame) => {
      const before = (await arrivals()).onHost;
      await captor.call("send", frame(), "uplink");
      await everythingArrived();
      expect((await arrivals()).onHost).toBe(before);
      await withoutBridgeRules(async () => {
        await captor.call("send", frame(), "uplink");
        await everythingArrived();
      });
      expect((await arrivals()).onHost).toBe(before + 1);
      await lab.run("ip", "neigh", "flush", "dev", "fireteact0");
    });

    it("to the neighbour are stopped by the isolation and by the rules, each alone; control: not by neither", async () => {
      const neighbour = await lab.actor(nameOf(theirs));
      await neighbour.call("sniff", "uplink");
      // Not IP, which the host's forward chain may see too.
      const frame = `${macOf(theirs)}${own()}88b5${MARK}${"00".repeat(40)}`;
      const arrived = async (): Promise<number> => {
        // The bridge learns again where the neighbour is: an attack before this one may have taught it otherwise.
        expect(await tcp(victim, WORLD.internet, 80)).toMatchObject({ ok: true });
        const before = await neighbour.call<number>("seen", MARK);
        await captor.call("send", frame, "uplink");
        await everythingArrived();
        return (await neighbour.call<number>("seen", MARK)) - before;
      };
      expect(await arrived()).toBe(0);
      await isolate("off");
      expect(await arrived()).toBe(0);
      await isolate("on");
      await withoutBridgeRules(async () => {
        expect(await arrived()).toBe(0);
        await isolate("off");
        expect(await arrived()).toBe(1);
        await isolate("on");
      });
      expect(await arrived()).toBe(0);
    });
  });

  it("from another source address are stopped by three walls, each alone; control: not by none", async () => {
    const to = WORLD.gateway;
    const frame = udpFrame({ to: TAP, from: GUEST, source: theirs.hostAddress, destination: to });
    const { onHost } = await arrivals();
    const send = async (): Promise<void> => {
      await guest.call("send", frame);
      expect(await tcp(victim, WORLD.internet, 80)).toMatchObject({ ok: true });
    };
    await lab.runIn(nameOf(mine), "nft", "delete", "table", "netdev", "fireteact");
    await send();
    expect((await arrivals()).onHost).toBe(onHost);
    await lab.runIn(nameOf(mine), "nft", "delete", "table", "inet", "fireteact");
    await send();
    expect((await arrivals()).onHost).toBe(onHost);
    await withoutBridgeRules(async () => {
      await send();
      await expect.poll(async () => (await arrivals()).onHost).toBe(onHost + 1);
    });
    await renew();
  });

  it("of IPv6 have no address to go to on the bridge and its ports", async () => {
    expect(await lab.run("ip", "-6", "addr", "show", "dev", "fireteact0")).toBe("");
    expect(await lab.run("ip", "-6", "addr", "show", "dev", "ftv1")).toBe("");
    expect(await lab.runIn(nameOf(mine), "ip", "-6", "addr", "show")).toBe("");
  });

  async function arrivals(): Promise<{ onHost: number; atVictim: number; outside: number }> {
    return {
      onHost: await host.call<number>("seen", MARK),
      atVictim: await victim.call<number>("seen", MARK),
      outside: await outside.call<number>("seen", MARK),
    };
  }
});

describe("a VMM that was taken over", () => {
  it("has no network through sockets of its own; control: it has without the rule", async () => {
    expect(await tcp(captor, WORLD.internet, 80)).toMatchObject({ ok: false });
    expect(await tcp(captor, WORLD.gateway, 1780, READ_NAME)).toMatchObject({ ok: false });
    await lab.runIn(nameOf(mine), "nft", "delete", "chain", "inet", "fireteact", "output");
    expect(await tcp(captor, WORLD.internet, 80)).toMatchObject({ ok: true });
  });
});

describe("a guest that opens flows without end", () => {
  it("gets no more of them, and others all they want", async () => {
    await renew();
    await guest.call("scatter", WORLD.internet, 8000);
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
    await guest.call("scatter", WORLD.internet, 8192);
    expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: false });
    expect(await tcp(victim, WORLD.internet, 80)).toMatchObject({ ok: true });
    // The host tracks no more of them than it should.
    const tracked = Number(await lab.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count"));
    // On a busy machine the first ones have timed out by now.
    expect(tracked).toBeGreaterThan(2000);
    expect(tracked).toBeLessThan(8400);
  });
});

/** The MAC of a namespace's end of the veth pair, without colons. */
function macOf(network: GuestNetwork): string {
  const slot = Number(network.hostAddress.split(".").at(-1)) - 2;
  return `02f70000${slot.toString(16).padStart(4, "0")}`;
}

/** What was sent has arrived where it goes once a later question was answered on the same way. */
async function everythingArrived(): Promise<void> {
  expect(await tcp(guest, "169.254.169.254", 80, READ_NAME)).toMatchObject({ ok: true });
  expect(await tcp(guest, WORLD.internet, 80)).toMatchObject({ ok: true });
}

async function withoutBridgeRules(work: () => Promise<void>): Promise<void> {
  const rules = await lab.run("nft", "list", "table", "bridge", "fireteact");
  await lab.run("nft", "delete", "table", "bridge", "fireteact");
  await work();
  await lab.nft(rules);
}

async function isolate(state: "on" | "off"): Promise<void> {
  for (const port of [mine, theirs].map((network) => nameOf(network).replace("ft-abcdef-", "ftv")))
    await lab.run("ip", "link", "set", port, "type", "bridge_slave", "isolated", state);
}

/** A fresh network for the hostile guest, whose old one was damaged. */
async function renew(): Promise<void> {
  await captor.stop();
  await guest.stop();
  await daemon.call("release", hex(1));
  mine = await daemon.call("attach", hex(1));
  await daemon.call("withdraw", hex(1));
  await daemon.call("publish", hex(1), { latest: { name: "mine" } });
  guest = await lab.guest(mine);
  captor = await lab.actor(nameOf(mine));
}
