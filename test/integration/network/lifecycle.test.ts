import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GuestNetwork, NetworkCheck } from "../../../src/network/port.ts";
import { createLab, hex, type Lab } from "./lab.ts";

let lab: Lab;
beforeEach(async () => {
  lab = await createLab();
});
afterEach(async () => {
  await lab.close();
});

const QUIET = { nameservers: ["192.0.2.53"] };

describe("the embedded network", () => {
  it("looks without changing anything, prepares, hands out, takes back and goes without a trace", async () => {
    const daemon = lab.daemon(QUIET);
    const check = await daemon.call<NetworkCheck>("check");
    expect(check).toMatchObject({ ok: true, detail: expect.stringContaining("10.201.0.0/24 for 253 guests") });
    expect(await lab.leftovers()).toEqual([]);

    await daemon.call("prepare");
    await daemon.call("prepare");
    const first = await daemon.call<GuestNetwork>("attach", hex(1));
    const second = await daemon.call<GuestNetwork>("attach", hex(2));
    expect(first).toEqual({
      namespace: "/run/netns/ft-abcdef-0",
      tap: "tap0",
      guestMac: "02:f7:ac:1f:00:02",
      guestAddress: "172.31.0.2/30",
      gateway: "172.31.0.1",
      nameservers: ["192.0.2.53"],
      hostAddress: "10.201.0.2",
      owner: 1_900_000_000,
    });
    expect(second).toEqual({
      ...first,
      namespace: "/run/netns/ft-abcdef-1",
      hostAddress: "10.201.0.3",
      owner: 1_900_000_001,
    });
    expect(await daemon.call("attach", hex(1))).toEqual(first);
    expect(await daemon.call("find", hex(1))).toEqual(first);
    expect(await daemon.call("list")).toEqual([hex(1), hex(2)]);

    await daemon.call("release", hex(1));
    await daemon.call("release", hex(1));
    expect(await daemon.call("find", hex(1))).toBeNull();
    expect(await daemon.call("list")).toEqual([hex(2)]);
    await daemon.call("release", hex(2));
    await daemon.call("close", true);
    expect(await lab.leftovers()).toEqual([]);
  });

  it("keeps what is shared while a guest is left", async () => {
    const daemon = lab.daemon(QUIET);
    await daemon.call("prepare");
    await daemon.call("attach", hex(1));
    await daemon.call("close", true);
    expect(await lab.leftovers()).toEqual([
      "fireteact0",
      "ftv0",
      "ft-abcdef-0",
      "0.json",
      "table bridge fireteact",
      "table inet fireteact",
    ]);
  });

  it("leaves other tables, bridges and namespaces alone", async () => {
    await lab.nft("table inet other {\nchain input {\ntype filter hook input priority 0\ntcp dport 1 drop\n}\n}");
    await lab.run("ip", "netns", "add", "ft-123456-7");
    await lab.run("ip", "link", "add", "docker0", "type", "bridge");
    const before = await lab.run("nft", "list", "table", "inet", "other");
    const daemon = lab.daemon(QUIET);
    await daemon.call("prepare");
    await daemon.call("allow", { allow: [{ host: "192.0.2.1", port: 443 }] });
    await daemon.call("close", true);
    expect(await lab.run("nft", "list", "table", "inet", "other")).toBe(before);
    expect(await lab.run("ip", "link", "show", "docker0")).toContain("docker0");
    expect(await lab.leftovers()).toEqual(["ft-123456-7"]);
  });

  it("finds its guests again after it was killed, with nothing but the host", async () => {
    const first = lab.daemon(QUIET);
    await first.call("prepare");
    const attached = await first.call<GuestNetwork>("attach", hex(1));
    await first.kill();

    const other = lab.daemon(QUIET);
    expect(await other.call("list")).toEqual([hex(1)]);
    expect(await other.call("find", hex(1))).toMatchObject({ namespace: attached.namespace });
    await other.call("prepare");
    expect(await other.call("find", hex(1))).toEqual(attached);
    expect((await other.call<GuestNetwork>("attach", hex(2))).namespace).not.toBe(attached.namespace);
    await other.call("release", hex(1));
    await other.call("release", hex(2));
    await other.call("close", true);
    expect(await lab.leftovers()).toEqual([]);
  });

  it.each([5, 20, 45, 70, 95, 130])(
    "killed %i ms into its work, leaves only what the next one removes",
    async (delay) => {
      const first = lab.daemon(QUIET);
      await first.call("check");
      const cut = [
        first.call("prepare").then(() => first.call("attach", hex(1))),
        first.call("attach", hex(2)),
        first.call("attach", hex(3)).then(() => first.call("release", hex(3))),
      ];
      const settled = Promise.allSettled(cut);
      await new Promise((resolve) => setTimeout(resolve, delay));
      await first.kill();
      await settled;

      const other = lab.daemon(QUIET);
      await other.call("prepare");
      for (const guest of await other.call<string[]>("list")) await other.call("release", guest);
      await other.call("close", true);
      expect(await lab.leftovers()).toEqual([]);
    },
  );

  it("removes claims that are none, and releases one whose namespace is gone", async () => {
    await lab.run("mkdir", "-p", "/run/fireteact/network");
    const claims =
      'cd /run/fireteact/network; echo \'{\' >3.json; echo x >.4.99; echo \'{"slot":9,"hex":"' +
      hex(9) +
      "\"}' >9.json";
    await lab.run("sh", "-c", claims);
    const daemon = lab.daemon(QUIET);
    expect(await daemon.call("list")).toEqual([hex(9)]);
    expect(await daemon.call("find", hex(9))).toBeNull();
    await daemon.call("prepare");
    expect(await lab.run("ls", "-A", "/run/fireteact/network")).toBe("9.json\n");
    expect(daemon.log()).toContain("3.json");
    await daemon.call("release", hex(9));
    expect(await daemon.call("list")).toEqual([]);
  });

  it("hands a slot to the next guest as if nobody had been there", async () => {
    const daemon = lab.daemon({ ...QUIET, subnet: "10.201.0.0/29", ahead: 0 });
    await daemon.call("prepare");
    const first = await daemon.call<GuestNetwork>("attach", hex(1));
    await lab.run(
      "ip",
      "-n",
      "ft-abcdef-0",
      "neigh",
      "add",
      "172.31.0.2",
      "lladdr",
      "02:00:00:00:00:09",
      "dev",
      "tap0",
    );
    await daemon.call("release", hex(1));
    let next = first;
    for (let guest = 2; guest <= 6; guest++) next = await daemon.call<GuestNetwork>("attach", hex(guest));
    expect(next).toEqual(first);
    expect(await lab.run("ip", "-n", "ft-abcdef-0", "neigh", "show")).toBe("");
  });

  it("gives back the way out even while a process stays in the namespace", async () => {
    const daemon = lab.daemon(QUIET);
    await daemon.call("prepare");
    const network = await daemon.call<GuestNetwork>("attach", hex(1));
    const stubborn = await lab.guest(network);
    await daemon.call("release", hex(1));
    await daemon.call("close", true);
    expect(await lab.leftovers()).toEqual([]);
    expect(await stubborn.call("run", ["ip", "link", "show", "eth0"])).toContain("eth0");
  });

  it("says when all addresses are in use, and goes on when one is free again", async () => {
    const daemon = lab.daemon({ ...QUIET, subnet: "10.201.0.0/29" });
    await daemon.call("prepare");
    for (let guest = 1; guest <= 5; guest++) await daemon.call("attach", hex(guest));
    await expect(daemon.call("attach", hex(6))).rejects.toThrow(
      "NETWORK_EXHAUSTED: all 5 networks for guests are in use (lower maxRunners of the pools",
    );
    await daemon.call("release", hex(3));
    expect(await daemon.call("attach", hex(6))).toMatchObject({ hostAddress: "10.201.0.4" });
  });

  it("puts its rules and IP forwarding back when another program flushed them", async () => {
    const daemon = lab.daemon({ ...QUIET, watchEvery: 50 });
    await daemon.call("prepare");
    const rules = async (): Promise<string> =>
      lab.run("sh", "-c", "nft -s list ruleset | grep -v 'elements = '; cat /proc/sys/net/ipv4/ip_forward");
    const before = await rules();
    expect(before).toContain("table bridge fireteact");
    await lab.run("sh", "-c", "nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward");
    await expect.poll(rules, { timeout: 10_000 }).toBe(before);
    expect(daemon.log()).toContain("another program removed the network rules");
  });

  it("gives the tap to its owner, who needs no other right", async () => {
    const daemon = lab.daemon(QUIET);
    await daemon.call("prepare");
    const { owner } = await daemon.call<GuestNetwork>("attach", hex(1));
    const vmm = await lab.actor("ft-abcdef-0");
    await expect(vmm.call("open_tap", "tap0", owner + 1)).rejects.toThrow("Operation not permitted");
    expect(await vmm.call("open_tap", "tap0", owner)).toBe(true);
  });
});

describe("a host that does not fit", () => {
  const rows: [what: string, prepare: string, expected: RegExp][] = [
    [
      "another interface of that name",
      "ip link add fireteact0 type veth",
      /^NETWORK_NAME_IN_USE: .*"fireteact0".*ip link del/,
    ],
    ["somebody's bridge of that name", "ip link add fireteact0 type bridge", /^NETWORK_NAME_IN_USE/],
    [
      "a route into the subnet",
      "ip link add x0 type veth; ip addr add 10.201.0.77/28 dev x0; ip link set x0 up",
      /^NETWORK_SUBNET_IN_USE: the guests' subnet 10\.201\.0\.0\/24 overlaps the route 10\.201\.0\.64\/28 on x0 .*network\.subnet/,
    ],
    [
      "a route around the subnet",
      "ip link add x0 type veth; ip link set x0 up; ip route add 10.0.0.0/8 dev x0",
      /^NETWORK_SUBNET_IN_USE: .*10\.0\.0\.0\/8/,
    ],
  ];
  it.each(rows)("%s", async (_, prepare, expected) => {
    await lab.run("sh", "-c", prepare);
    const daemon = lab.daemon(QUIET);
    expect(await daemon.call("check")).toMatchObject({ ok: false, hint: expect.any(String) });
    await expect(daemon.call("prepare")).rejects.toThrow(expected);
    expect((await lab.leftovers()).filter((line) => line.startsWith("table"))).toEqual([]);
  });

  it("a default route does not count as a clash", async () => {
    await lab.run(
      "sh",
      "-c",
      "ip link add x0 type veth; ip link set x0 up; ip addr add 192.0.2.9/24 dev x0; ip route add default dev x0",
    );
    expect(await lab.daemon(QUIET).call("check")).toMatchObject({ ok: true });
  });

  it("a subnet that changed under guests", async () => {
    const first = lab.daemon(QUIET);
    await first.call("prepare");
    await first.call("attach", hex(1));
    await first.kill();
    await expect(lab.daemon({ ...QUIET, subnet: "10.202.0.0/24" }).call("prepare")).rejects.toThrow(
      /NETWORK_SUBNET_CHANGED: .*10\.201\.0\.1\/24.*10\.202\.0\.0\/24/,
    );
  });

  it("another daemon, which the first does not notice", async () => {
    const first = lab.daemon(QUIET);
    await first.call("prepare");
    await first.call("allow", { allow: [{ host: "192.0.2.1", port: 443 }] });
    const before = await lab.run("nft", "-s", "list", "ruleset");
    const second = lab.daemon(QUIET);
    await expect(second.call("prepare")).rejects.toThrow(/NETWORK_METADATA_LISTEN: .*10\.201\.0\.1:1780.*already/);
    await second.call("close", false);
    expect(await lab.run("nft", "-s", "list", "ruleset")).toBe(before);
    const network = await first.call<GuestNetwork>("attach", hex(1));
    expect(await lab.runIn("ft-abcdef-0", "ip", "link", "show", network.tap)).toContain(network.tap);
  });

  it("no nft", async () => {
    await lab.run("sh", "-c", "mkdir /run/bin && ln -s $(command -v ip) /run/bin/ip");
    const daemon = lab.daemon(QUIET, ["env", "PATH=/run/bin"]);
    expect(await daemon.call("check")).toEqual({
      ok: false,
      detail: 'the program "nft" is not installed',
      hint: "install the package nftables, or put nft into PATH",
    });
  });

  it("no root", async () => {
    const daemon = lab.daemon(QUIET, [
      "setpriv",
      "--reuid=65534",
      "--clear-groups",
      "--inh-caps=-all",
      "--bounding-set=-all",
    ]);
    expect(await daemon.call("check")).toMatchObject({ ok: false, detail: "networks for guests need root" });
  });

  it("only loopback name servers", async () => {
    await lab.run(
      "sh",
      "-c",
      "echo nameserver 127.0.0.53 >/run/resolv.conf && mount --bind /run/resolv.conf /etc/resolv.conf",
    );
    const daemon = lab.daemon();
    expect(await daemon.call("check")).toMatchObject({
      ok: true,
      hint: expect.stringContaining("network.nameservers"),
    });
  });

  it("another firewall that drops forwarded packets", async () => {
    await lab.nft("table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop\n}\n}");
    expect(await lab.daemon(QUIET).call("check")).toMatchObject({
      ok: true,
      hint: expect.stringContaining('the chain "ip filter FORWARD" drops forwarded packets'),
    });
  });
});
