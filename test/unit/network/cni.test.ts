import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FireteactError } from "../../../src/base/errors.ts";
import { loadConfList, parseConfList, VERSIONS } from "../../../src/network/cni/conf-list.ts";
import { leaseHolders } from "../../../src/network/cni/leases.ts";
import { createRecords } from "../../../src/network/cni/records.ts";
import { guestEnd, oneLine, parseResult, pluginError } from "../../../src/network/cni/result.ts";

const HEX = "abcdef0000000000000000aa";
const GUEST = { hex: HEX, namespace: "/run/netns/ft-x" };
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fireteact-cni-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const list = (over: object = {}) => ({
  cniVersion: "1.0.0",
  name: "fireteact",
  plugins: [{ type: "bridge" }],
  ...over,
});
const put = (name: string, content: unknown): void =>
  writeFileSync(join(directory, name), typeof content === "string" ? content : JSON.stringify(content));
const reason = async (): Promise<string> =>
  await loadConfList(directory).then(
    () => "none",
    (error: unknown) => (error instanceof FireteactError ? `${error.code}: ${error.message}; ${error.hint}` : "other"),
  );

describe("a configuration list", () => {
  it("is the first one with our name, in the order of file names, whatever else lies there", async () => {
    put("00-broken.conflist", "{");
    put("05-other.conflist", list({ name: "podman" }));
    put("10-ours.conflist", list({ plugins: [{ type: "bridge", bridge: "cni0", ipam: { type: "host-local" } }] }));
    put("20-ours.conflist", list({ plugins: [{ type: "ptp" }] }));
    put("01-ours.conf", list());
    const { file, list: found } = await loadConfList(directory);
    expect(file).toBe(join(directory, "10-ours.conflist"));
    expect(found).toEqual({
      cniVersion: "1.0.0",
      name: "fireteact",
      disableCheck: false,
      disableGC: false,
      plugins: [{ type: "bridge", bridge: "cni0", ipam: { type: "host-local" } }],
    });
  });

  it("that is missing is said, with what could not be read", async () => {
    expect(await reason()).toMatch(/^CNI_CONF_MISSING: .*"fireteact".*put a file such as 10-fireteact\.conflist/);
    put("10-ours.conflist", '{"name": "fireteact", "plugins": [');
    expect(await reason()).toMatch(/CNI_CONF_MISSING.*10-ours\.conflist: /);
    put("10-ours.conflist", "x".repeat(300_000));
    expect(await reason()).toMatch(/at most 262144 are read/);
  });

  it.each<[string, object, RegExp]>([
    ["no plugins", { plugins: [] }, /plugins/],
    ["a plugin that is a path", { plugins: [{ type: "../sh" }] }, /bare name/],
    ["an old version", { cniVersion: "0.2.0" }, /"0\.2\.0"; known are 0\.3\.0, .*1\.1\.0/],
    ["a flag that is none", { disableCheck: "perhaps" }, /disableCheck/],
  ])("with %s is refused", async (_, over, expected) => {
    put("10-ours.conflist", list(over));
    expect(await reason()).toMatch(/^CNI_CONF_INVALID/);
    expect(await reason()).toMatch(expected);
  });

  it("is read in the newest version that it offers and we know", () => {
    const best = (over: object) => parseConfList(list(over), "f").cniVersion;
    for (const version of VERSIONS) expect(best({ cniVersion: version })).toBe(version);
    expect(best({ cniVersion: "0.4.0", cniVersions: ["1.0.0", "1.1.0", "9.0.0"] })).toBe("1.1.0");
    expect(best({ cniVersion: "9.0.0", cniVersions: ["0.3.1"] })).toBe("0.3.1");
    expect(parseConfList(list({ disableGC: "true", disableCheck: true }), "f")).toMatchObject({
      disableGC: true,
      disableCheck: true,
    });
  });
});

const MAC = "8e:22:60:a5:46:d0";
const result = (version: string) => ({
  cniVersion: version,
  interfaces: [
    { name: "cni0", mac: MAC },
    { name: "eth0", mac: MAC, sandbox: GUEST.namespace },
    {
      name: "tap0",
      mac: "3e:00:00:00:00:01",
      sandbox: GUEST.namespace,
      ...(version === "1.1.0" ? { mtu: 1_500 } : {}),
    },
    { name: "tap0", mac: MAC.toUpperCase(), sandbox: HEX },
  ],
  ips: [1, 3].map((end) => ({
    ...(version < "1" ? { version: "4" } : {}),
    interface: end,
    address: "10.77.0.2/29",
    gateway: "10.77.0.1",
  })),
  routes: [{ dst: "0.0.0.0/0" }],
  dns: { nameservers: ["fd00::1", "192.0.2.1", "192.0.2.1"] },
});
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (error) {
    if (error instanceof FireteactError) return error.code;
    throw error;
  }
};

describe("a result", () => {
  it.each(VERSIONS)("of version %s tells the guest's end", (version) => {
    const parsed = parseResult(result(version), version, "tc-redirect-tap");
    // It is handed on as it came.
    expect(parsed).toEqual(result(version));
    expect(guestEnd(parsed, GUEST)).toEqual({
      tap: "tap0",
      mac: MAC,
      address: "10.77.0.2/29",
      gateway: "10.77.0.1",
      nameservers: ["192.0.2.1"],
    });
  });

  it("may name the gateway in its route only", () => {
    const { ips, ...rest } = result("1.0.0");
    const without = ips.map((ip) => ({ ...ip, gateway: undefined }));
    const routed = { ...rest, ips: without, routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.6" }] };
    expect(guestEnd(parseResult(routed, "1.0.0", "p"), GUEST).gateway).toBe("10.77.0.6");
    expect(codeOf(() => guestEnd(parseResult({ ...rest, ips: without }, "1.0.0", "p"), GUEST))).toBe("CNI_NO_ADDRESS");
  });

  it.each<[string, object, string]>([
    ["without the guest's interface", { interfaces: result("1.0.0").interfaces.slice(0, 3) }, "CNI_NO_TAP"],
    ["without the tap", { interfaces: [{ name: "tap0", mac: MAC, sandbox: HEX }] }, "CNI_NO_TAP"],
    [
      "of another guest",
      { interfaces: result("1.0.0").interfaces.map((end) => ({ ...end, sandbox: "b" })) },
      "CNI_NO_TAP",
    ],
    ["without an address for the guest", { ips: result("1.0.0").ips.slice(0, 1) }, "CNI_NO_ADDRESS"],
    ["with IPv6 only", { ips: [{ address: "fd00::2/64", gateway: "fd00::1", interface: 3 }] }, "CNI_NO_ADDRESS"],
    [
      "with a prefix that is none",
      { ips: [{ address: "10.0.0.2/33", gateway: "10.0.0.1", interface: 3 }] },
      "CNI_NO_ADDRESS",
    ],
  ])("%s is refused", (_, over, code) => {
    expect(codeOf(() => guestEnd(parseResult({ ...result("1.0.0"), ...over }, "1.0.0", "p"), GUEST))).toBe(code);
  });

  it("in another version than asked, or of another shape, is refused", () => {
    expect(codeOf(() => parseResult(result("0.4.0"), "1.0.0", "p"))).toBe("CNI_PLUGIN_OUTPUT");
    for (const value of [
      null,
      [],
      "text",
      7,
      {},
      { cniVersion: "1.0.0", ips: {} },
      { cniVersion: "1.0.0", interfaces: [1] },
    ]) {
      expect(codeOf(() => parseResult(value, "1.0.0", "p"))).toBe("CNI_PLUGIN_OUTPUT");
    }
    const flood = { cniVersion: "1.0.0", interfaces: Array.from({ length: 65 }, () => ({ name: "a" })) };
    expect(codeOf(() => parseResult(flood, "1.0.0", "p"))).toBe("CNI_PLUGIN_OUTPUT");
  });

  it("whatever is in it, gives words that can stand on a command line, or a clear error", () => {
    const hostile = fc.oneof(
      fc.string(),
      fc.constantFrom("tap0", HEX, GUEST.namespace, MAC, "10.0.0.2/24", "10.0.0.1"),
    );
    const anything = fc.record({
      cniVersion: fc.constant("1.0.0"),
      interfaces: fc.array(fc.record({ name: hostile, mac: hostile, sandbox: hostile }), { maxLength: 4 }),
      ips: fc.array(fc.record({ address: hostile, gateway: hostile, interface: fc.nat(4) }), { maxLength: 4 }),
      dns: fc.record({ nameservers: fc.array(hostile) }),
    });
    fc.assert(
      fc.property(fc.oneof(anything, fc.anything()), (value) => {
        try {
          const end = guestEnd(parseResult(value, "1.0.0", "p"), GUEST);
          expect(Object.values(end).flat().join("")).toMatch(/^[\w.:/-]*$/);
        } catch (error) {
          expect(error).toBeInstanceOf(FireteactError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

it("a plugin's error is one short line, whatever it says", () => {
  expect(pluginError({ code: 7, msg: "a\nb", details: "c" })).toEqual({ code: 7, message: "a b (c)" });
  expect(pluginError({ msg: "no code" })).toBeUndefined();
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 2_000 }), (said) => {
      expect(oneLine(said)).toMatch(/^[^\p{C}]{0,300}$/u);
    }),
  );
});

it("records are whole or none, and owners are no two guests'", () => {
  const records = createRecords({ state: directory, run: directory });
  expect(records.all()).toEqual([]);
  const own = { hex: HEX, owner: records.freeOwner(), binDir: "/bin", list: parseConfList(list(), "f") };
  records.write(own);
  const withResult = { ...own, hex: HEX.replace("aa", "bb"), owner: records.freeOwner(), result: result("1.0.0") };
  records.write(withResult);
  expect(withResult.owner).toBe(own.owner + 1);
  expect(records.read(HEX)).toEqual(own);
  expect(records.read(withResult.hex)).toEqual(withResult);
  writeFileSync(join(directory, "cni", `${HEX}.json`), "{");
  expect(records.read(HEX)).toBeUndefined();
  expect(records.all()).toEqual([withResult]);
  for (let times = 0; times < 2; times++) records.remove(withResult.hex);
  expect(records.all()).toEqual([]);
});

it("leases name their holders; what is none is passed over", async () => {
  const leases = join(directory, "fireteact");
  mkdirSync(join(leases, "10.0.0.9"), { recursive: true });
  writeFileSync(join(leases, "10.0.0.2"), `${HEX}\r\neth0`);
  writeFileSync(join(leases, "10.0.0.3"), HEX);
  writeFileSync(join(leases, "10.0.0.4"), "pool-somebody-else");
  writeFileSync(join(leases, "last_reserved_ip.0"), HEX.replace("aa", "cc"));
  const plugins = [
    { type: "bridge", ipam: { type: "host-local", dataDir: directory } },
    { type: "x", ipam: { type: "dhcp" } },
  ];
  expect(await leaseHolders(parseConfList(list({ plugins }), "f"))).toEqual([HEX]);
});
