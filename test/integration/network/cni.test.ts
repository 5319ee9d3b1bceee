import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { GuestNetwork, NetworkCheck } from "../../../src/network/port.ts";
import { buildWorld, createLab, type Daemon, hex, type Lab, tcp, WORLD } from "./lab.ts";

/** Debian's plugins, on hosts of the tests' own. The plugin that makes taps is the real one where it is installed. */
const PLUGINS = "/usr/lib/cni";
const STAND_IN = fileURLToPath(new URL("./fixtures/tc_redirect_tap.py", import.meta.url));
const REAL_TAP = process.env["TC_REDIRECT_TAP"] ?? "/opt/cni/bin/tc-redirect-tap";

let lab: Lab;
let directory: string;
let confDir: string;
let binDir: string;
beforeEach(async () => {
  lab = await createLab();
  directory = mkdtempSync(join(tmpdir(), "fireteact-cni-"));
  confDir = join(directory, "net.d");
  binDir = join(directory, "bin");
  for (const folder of [confDir, binDir]) mkdirSync(folder);
  for (const plugin of ["bridge", "host-local", "firewall"]) symlinkSync(join(PLUGINS, plugin), join(binDir, plugin));
  const tap = join(binDir, "tc-redirect-tap");
  copyFileSync(existsSync(REAL_TAP) ? REAL_TAP : STAND_IN, tap);
  chmodSync(tap, 0o755);
});
afterEach(async () => {
  await lab.close();
  rmSync(directory, { recursive: true });
});

const bridge = {
  type: "bridge",
  bridge: "cni0",
  isGateway: true,
  ipMasq: true,
  ipam: {
    type: "host-local",
    dataDir: "/run/leases",
    ranges: [[{ subnet: "10.77.0.0/29" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  },
};
const TAP = { type: "tc-redirect-tap" };

function configure(plugins: object[] = [bridge, { type: "firewall" }, TAP], cniVersion = "1.0.0"): void {
  const list = { cniVersion, name: "fireteact", plugins };
  writeFileSync(join(confDir, "10-fireteact.conflist"), JSON.stringify(list));
}

/** A plugin whose whole text is given; `$CNI_COMMAND` says what it is asked. */
function plugin(name: string, script: string): { type: string } {
  writeFileSync(join(binDir, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return { type: name };
}

const daemon = (over: object = {}): Daemon => lab.daemon({ cni: { confDir, binDir, ...over } });
async function prepared(over: object = {}): Promise<Daemon> {
  const started = daemon(over);
  await started.call("prepare");
  return started;
}

/** Everything of guests that is there: namespaces, records, addresses. */
async function left(): Promise<string[]> {
  const script =
    "{ ls /run/netns; ls /run/state/cni; ls /run/leases/fireteact | grep -E '^[0-9.]+$'; } 2>/dev/null; true";
  return (await lab.run("sh", "-c", script)).split("\n").filter((line) => line !== "");
}

describe("a network of CNI plugins", () => {
  it("says what it uses, gives a guest its network, and takes all of it back", async () => {
    configure();
    const host = daemon();
    const check = await host.call<NetworkCheck>("check");
    expect(check).toEqual({
      ok: true,
      detail: `CNI 1.0.0, ${confDir}/10-fireteact.conflist: bridge, firewall, tc-redirect-tap`,
    });
    expect(await left()).toEqual([]);
    await host.call("prepare");
    const first = await host.call<GuestNetwork>("attach", hex(1));
    expect(first).toMatchObject({
      namespace: `/run/netns/ft-${hex(1)}`,
      tap: "tap0",
      guestMac: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
      guestAddress: "10.77.0.2/29",
      gateway: "10.77.0.1",
      hostAddress: "10.77.0.2",
      owner: 1_900_100_000,
    });
    expect(await host.call("attach", hex(1))).toEqual(first);
    expect(await host.call("attach", hex(2))).toMatchObject({ guestAddress: "10.77.0.3/29", owner: 1_900_100_001 });
    expect(await host.call("find", hex(1))).toEqual(first);
    expect(await host.call("list")).toEqual([hex(1), hex(2)]);
    for (let times = 0; times < 2; times++) await host.call("release", hex(1));
    expect(await host.call("find", hex(1))).toBeNull();
    await host.call("release", hex(2));
    expect(await left()).toEqual([]);
    expect(await lab.run("iptables-save")).not.toContain(hex(1));
  });

  it("carries a guest's packets to its gateway and beyond, by a tap that only its owner opens", async () => {
    configure();
    await buildWorld(lab);
    const host = await prepared();
    const network = await host.call<GuestNetwork>("attach", hex(1));
    const listener = await lab.actor();
    await listener.call("listen", "0.0.0.0", 5000);
    const stranger = await lab.actor(`ft-${hex(1)}`);
    await expect(stranger.call("open_tap", network.tap, network.owner + 1)).rejects.toThrow("not permitted");
    const guest = await lab.guest(network);
    expect(await tcp(guest, network.gateway, 5000)).toEqual({ ok: true, reply: "hello 10.77.0.2" });
    expect(await tcp(guest, WORLD.internet, 80)).toEqual({ ok: true, reply: `hello ${WORLD.hostPublic}` });
  });

  it("says that all addresses are taken, leaves nothing of the guest that got none, and goes on", async () => {
    configure();
    const host = await prepared();
    for (let guest = 1; guest <= 5; guest++) await host.call("attach", hex(guest));
    const before = await left();
    await expect(host.call("attach", hex(6))).rejects.toThrow(
      /CNI_PLUGIN_FAILED: .*"bridge" failed at ADD.*larger range/,
    );
    expect(await left()).toEqual(before);
    await host.call("release", hex(3));
    expect(await host.call("attach", hex(6))).toMatchObject({ guestAddress: "10.77.0.4/29" });
  });

  it("finds its guests after it was killed, and sweeps those that are gone, records or not", async () => {
    configure();
    const first = await prepared();
    const kept = await first.call<GuestNetwork>("attach", hex(1));
    for (let guest = 2; guest <= 4; guest++) await first.call("attach", hex(guest));
    await first.kill();
    // As a boot leaves one, as the loss of the state directory leaves another, and both.
    await lab.run("ip", "netns", "del", `ft-${hex(2)}`);
    await lab.run("rm", `/run/state/cni/${hex(3)}.json`);
    await lab.run("ip", "netns", "del", `ft-${hex(4)}`);
    await lab.run("rm", `/run/state/cni/${hex(4)}.json`);
    const second = await prepared();
    expect(await second.call("find", hex(1))).toEqual(kept);
    expect(second.log()).toContain("removed CNI networks of guests that are gone");
    await second.call("release", hex(3));
    expect(await left()).toEqual([`ft-${hex(1)}`, `${hex(1)}.json`, "10.77.0.2"]);
  });

  it.each([20, 80, 200])("killed %i ms into an attachment leaves only what the next one sweeps", async (delay) => {
    configure();
    const first = await prepared();
    const attached = first.call("attach", hex(1)).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, delay));
    await first.kill();
    await attached;
    const second = await prepared();
    await second.call("release", hex(1));
    expect(await left()).toEqual([]);
  });

  it("tells when another program deletes a guest's namespace, and when a plugin finds it changed", async () => {
    configure([bridge, TAP]);
    const host = await prepared({ watchEvery: 100 });
    await host.call("attach", hex(1));
    await host.call("attach", hex(2));
    await lab.run("ip", "netns", "del", `ft-${hex(1)}`);
    await vi.waitFor(() => expect(host.log()).toContain("was deleted by another program"), 20_000);
    await lab.runIn(`ft-${hex(2)}`, "tc", "qdisc", "del", "dev", "eth0", "ingress");
    await host.kill();
    const next = await prepared();
    expect(next.log()).toMatch(/"tc-redirect-tap\\?" failed at CHECK/);
  });

  it("asks STATUS, CHECK and GC where the version has them, with what the specification says", async () => {
    const log = join(directory, "calls");
    const answer = `{"cniVersion":"1.1.0","interfaces":[{"name":"tap0","sandbox":"'$CNI_NETNS'"},
      {"name":"tap0","mac":"02:00:00:00:00:01","sandbox":"'$CNI_CONTAINERID'"}],
      "ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1","interface":1}],"dns":{"nameservers":["192.0.2.9"]},"more":[1]}`;
    const modern = plugin(
      "modern",
      `config=$(cat); echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $config" >>${log}
      case $CNI_COMMAND in
        VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}' ;;
        ADD) echo '${answer}' ;;
      esac`,
    );
    configure([{ ...modern, capabilities: { ips: true }, own: "yes" }], "1.1.0");
    const host = await prepared();
    expect(await host.call("attach", hex(1))).toMatchObject({ nameservers: ["192.0.2.9"], gateway: "10.0.0.1" });
    await host.call("prepare");
    await host.call("release", hex(1));
    const calls = (await lab.run("cat", log)).trim().split("\n");
    expect(calls.map((call) => call.split(" ")[0]).join(" ")).toBe("VERSION STATUS GC ADD VERSION STATUS CHECK GC DEL");
    const add = calls[3] ?? "";
    expect(add).toContain(
      `ADD ${hex(1)} eth0 IgnoreUnknown=1;TC_REDIRECT_TAP_NAME=tap0;TC_REDIRECT_TAP_UID=1900100000;TC_REDIRECT_TAP_GID=1900100000`,
    );
    expect(add).not.toContain("capabilities");
    expect(JSON.parse(add.slice(add.indexOf("{")))).toEqual({
      type: "modern",
      own: "yes",
      cniVersion: "1.1.0",
      name: "fireteact",
    });
    expect(calls[2]).toContain('"cni.dev/valid-attachments":[]');
    expect(calls[7]).toContain(`"cni.dev/valid-attachments":[{"containerID":"${hex(1)}","ifname":"eth0"}]`);
    // What we do not know of a result is passed on too.
    for (const call of [calls[6], calls[8]]) expect(call).toMatch(/"prevResult":\{.*"more":\[1\]/);
  });
});

describe("a plugin", () => {
  const attach = async (last: { type: string }, over: object = {}): Promise<unknown> => {
    configure([bridge, last]);
    const host = await prepared(over);
    return await host.call("attach", hex(1));
  };
  const DEL = "case $CNI_COMMAND in DEL|VERSION) exit 0 ;; esac; cat >/dev/null;";

  it.each<[what: string, script: string, reason: string]>([
    ["prints nonsense", "echo oops", "CNI_PLUGIN_OUTPUT.*oops"],
    ["prints nothing", "true", "CNI_PLUGIN_OUTPUT.*printed nothing"],
    ["prints without end", "yes '{}' | head -c 9000000", "CNI_PLUGIN_OUTPUT"],
    ["answers in another version", `echo '{"cniVersion":"0.4.0"}'`, "CNI_PLUGIN_OUTPUT.*0.4.0"],
    ["makes no tap", `echo '{"cniVersion":"1.0.0"}'`, "CNI_NO_TAP.*tc-redirect-tap"],
    ["fails with words", `echo '{"code":11,"msg":"try","details":"later"}'; exit 1`, "CNI_PLUGIN_FAILED.*try .later."],
    ["fails without", "echo gone >&2; exit 3", "CNI_PLUGIN_FAILED.*gone"],
    ["dies", "kill -9 $$", "CNI_PLUGIN_FAILED"],
  ])("that %s fails the guest with a reason, and nothing is left", async (_, script, reason) => {
    await expect(attach(plugin("bad", `${DEL} ${script}`))).rejects.toThrow(new RegExp(reason));
    expect(await left()).toEqual([]);
  });

  it("that hangs is killed with what it started", async () => {
    const pid = join(directory, "pid");
    const hangs = plugin("hangs", `${DEL} sleep 600 & echo $! >${pid}; wait`);
    await expect(attach(hangs, { timeout: 2_000 })).rejects.toThrow(
      /CNI_PLUGIN_TIMEOUT.*did not end within 2 s at ADD/,
    );
    expect(await left()).toEqual([]);
    const child = (await lab.run("cat", pid)).trim();
    await vi.waitFor(() => expect(existsSync(`/proc/${child}/fd/0`)).toBe(false), 10_000);
  });

  it("that fails at DEL keeps the guest on record, until it goes", async () => {
    const stuck = plugin(
      "stuck",
      `test $CNI_COMMAND != DEL || test -e ${directory}/open || exit 7; cat >/dev/null; exit 0`,
    );
    await expect(attach(stuck)).rejects.toThrow("CNI_PLUGIN_OUTPUT");
    const host = daemon();
    // The others have given back what is theirs.
    expect(await left()).toEqual([`${hex(1)}.json`]);
    expect(await host.call("list")).toEqual([hex(1)]);
    await expect(host.call("release", hex(1))).rejects.toThrow("CNI_PLUGIN_FAILED");
    writeFileSync(join(directory, "open"), "");
    await host.call("release", hex(1));
    expect(await left()).toEqual([]);
  });

  it("sees what the specification names, and nothing else of ours", async () => {
    const seen = join(directory, "env");
    const curious = plugin("curious", `${DEL} tr '\\0' '\\n' </proc/$$/environ >${seen}`);
    vi.stubEnv("FORGE_TOKEN", "s3cret");
    await expect(attach(curious)).rejects.toThrow("printed nothing");
    vi.unstubAllEnvs();
    const lines = (await lab.run("cat", seen)).split("\n").filter((line) => line !== "");
    const expected = "CNI_ARGS CNI_COMMAND CNI_CONTAINERID CNI_IFNAME CNI_NETNS CNI_PATH LC_ALL PATH";
    expect(new Set(lines.map((line) => line.split("=")[0]))).toEqual(new Set(expected.split(" ")));
  });

  it.each<[what: string, break_: () => void, reason: string]>([
    ["that is not installed", () => rmSync(join(binDir, "firewall")), "no CNI plugin .*/firewall"],
    ["whose ipam is not", () => rmSync(join(binDir, "host-local")), "no CNI plugin .*/host-local"],
    ["that is too old", () => configure(undefined, "1.1.0"), '"bridge" does not know version 1.1.0'],
    [
      "without a list",
      () => rmSync(join(confDir, "10-fireteact.conflist")),
      'no CNI configuration list .* "fireteact"',
    ],
    ["that is a path", () => configure([{ type: "../../bin/sh" }]), "must be the bare name of a plugin"],
  ])("%s is found before any guest comes, with what to do", async (_, break_, reason) => {
    configure();
    break_();
    const host = daemon();
    expect(await host.call("check")).toMatchObject({
      ok: false,
      detail: expect.stringMatching(new RegExp(reason)),
      hint: expect.stringMatching(/./),
    });
    await expect(host.call("prepare")).rejects.toThrow(new RegExp(reason));
  });
});
