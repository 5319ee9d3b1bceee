import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { errorsOf, load, warningsOf } from "./workspace.ts";

const example = readFileSync(join(import.meta.dirname, "../../../packaging/examples/original.yaml"), "utf8");
/** A file of the original program with these keys besides the necessary ones. */
const original = (gitea: string, pool = "", rest = "") =>
  `server: {address: "0.0.0.0:1"}
gitea: {instanceURL: https://git.example.com, apiToken: t, ${gitea}}
pools: [{name: a, runner: {image: i, labels: [x]}, ${pool}}]
${rest}
cni: {}
`;

describe("a file of the original program", () => {
  it("means the same", () => {
    const { settings, warnings } = load(example);
    expect(settings).toMatchObject({
      logLevel: "info",
      targets: [
        {
          key: "https://gitea.example.com#org:my-org",
          url: "https://gitea.example.com",
          scope: { kind: "org", owner: "my-org" },
          token: { kind: "inline", value: "your-api-token" },
          legacyRegistrationToken: false,
          allowPersistentRegistration: false,
        },
      ],
      containerd: { address: "/run/containerd/containerd.sock", snapshotter: "devmapper" },
      cni: { confDir: "/etc/cni/conf.d", binDir: "/opt/cni/bin" },
    });
    expect(settings.pools).toHaveLength(1);
    expect(settings.pools[0]).toMatchObject({
      name: "default",
      prefix: "fireteact-runner",
      labels: ["self-hosted", "linux", "x64"],
      runnerLabels: ["self-hosted:host", "linux:host", "x64:host"],
      minRunners: 2,
      maxRunners: 10,
      minIdle: 0,
      driver: "firecracker",
      target: "https://gitea.example.com#org:my-org",
      memoryMib: 2048,
      vcpus: 2,
      image: "ghcr.io/thpham/fireactions-images/ubuntu-24.04-gitea:latest",
      firecracker: {
        jailer: true,
        kernelPath: "/var/lib/fireteact/kernels/vmlinux",
        kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off",
        metadata: {},
      },
    });
    expect(warnings.map((warning) => warning.key)).toEqual(["server.address", "server.metricsAddress"]);
  });

  it("has the original's defaults", () => {
    const { settings } = load(original(""));
    expect(settings.pools[0]).toMatchObject({
      minRunners: 1,
      maxRunners: 10,
      memoryMib: 2048,
      vcpus: 2,
      imagePullPolicy: "IfNotPresent",
    });
    expect(settings.server.metricsAddress).toEqual({ host: "127.0.0.1", port: 8081 });
    expect(settings.cni?.confDir).toBe("/etc/cni/net.d");
    expect(settings.targets[0]?.scope).toEqual({ kind: "instance" });
  });

  it("may write empty values for what is not set", () => {
    const { settings } = load(
      original('runnerOwner: "", runnerRepo: , apiTokenFile: ~', "minRunners: , firecracker: "),
    );
    expect(settings.targets[0]?.scope).toEqual({ kind: "instance" });
    expect(settings.pools[0]?.minRunners).toBe(1);
  });

  it("may leave out quotes where a text is wanted", () => {
    const pool = "{name: 1, runner: {image: 2, labels: [22.10, true, 0x10]}}";
    const { settings } = load(
      `gitea: {instanceURL: https://g, apiToken: 0123, runnerScope: org, runnerOwner: 42}\npools: [${pool}]\n`,
    );
    expect(settings.pools[0]).toMatchObject({ name: "1", image: "2", labels: ["22.10", "true", "0x10"] });
    expect(settings.targets[0]).toMatchObject({ token: { value: "0123" }, scope: { owner: "42" } });
  });

  it("may have unknown keys, which are warned about", () => {
    expect(warningsOf(original("", "minRunnres: 3", "colour: red"))).toEqual([
      "c.yaml:3:52: pools[0].minRunnres: unknown key; did you mean minRunners?",
      expect.stringContaining("c.yaml:4:1: colour: unknown key; allowed here: "),
    ]);
  });

  it("has its unknown keys refused as soon as it uses a new key", () => {
    expect(errorsOf(original("", "minIdle: 1, colour: red"))).toEqual([
      expect.stringContaining("c.yaml:3:64: pools[0].colour: unknown key"),
    ]);
  });

  it("cuts slashes from the forge's address, and keeps its path", () => {
    const { settings } = load(
      'gitea: {instanceURL: "https://g/sub/", apiToken: t}\npools: [{name: a, driver: fake}]\n',
    );
    expect(settings.targets[0]?.url).toBe("https://g/sub");
    expect(settings.targets[0]?.key).toBe("https://g/sub#instance");
  });

  it("takes the first pool's kernel where a pool names none", () => {
    const pools =
      "pools: [{name: a, runner: {image: i, labels: [x]}, firecracker: {kernelPath: /k}}, {name: b, runner: {image: i, labels: [x]}}]";
    const content = `server: {address: "[::1]:1"}\ngitea: {instanceURL: https://g, apiToken: t}\n${pools}\ncni: {}\n`;
    expect(load(content).settings.pools.map((pool) => pool.firecracker?.kernelPath)).toEqual(["/k", "/k"]);
    expect(warningsOf(content)).toEqual([
      'c.yaml:3:84: pools[1].firecracker.kernelPath: not set: the kernel of pools[0] is used, "/k"',
    ]);
  });
});

describe("differences from the original are said once, in files of the original", () => {
  const cases: [name: string, content: string, warnings: string[]][] = [
    ["nothing differs", original(""), []],
    [
      "no CNI",
      original("").replace("cni: {}", ""),
      [
        "c.yaml:3:9: pools[0]: no cni block: guests use the embedded network; the original took the CNI network of /etc/cni/net.d",
      ],
    ],
    ["no CNI in a new file", original("", "minIdle: 0").replace("cni: {}", ""), []],
    [
      "egress where plugins decide",
      original("", "network: {egress: open}"),
      ["c.yaml:3:52: pools[0].network: not used: with cni the plugins decide what the pool's guests reach"],
    ],
    [
      "minRunners: 0",
      original("", "minRunners: 0"),
      ["c.yaml:3:64: pools[0].minRunners: 0 means none here, the pool scales to zero; the original took 1"],
    ],
    ["minRunners: 0 in a new file", original("", "minRunners: 0, minIdle: 0"), []],
    [
      "maxRunners: 0",
      original("", "maxRunners: 0"),
      [
        "c.yaml:3:64: pools[0].maxRunners: 0 means the default, 10, as in the original; to stop a pool pause or remove it",
      ],
    ],
    [
      "no address",
      original("").replace('server: {address: "0.0.0.0:1"}', ""),
      ["c.yaml:1:1: server.address: not set: the API listens on 127.0.0.1:8080; the original took every network"],
    ],
    [
      "an address without host",
      original("").replace("0.0.0.0", ""),
      [
        "c.yaml:1:19: server.address: without a host it is reachable from this machine only; write 0.0.0.0:1 for every network",
      ],
    ],
    [
      "an owner without scope",
      original("runnerOwner: o"),
      [
        "c.yaml:2:73: gitea.runnerOwner: without runnerScope the scope is org, since there is an owner; the original took instance",
      ],
    ],
    [
      "a repository without scope",
      original("runnerScope: org, runnerOwner: o, runnerRepo: r"),
      [
        "c.yaml:2:106: gitea.runnerRepo: not used; runners are registered for one repository only with runnerScope: repo",
      ],
    ],
    [
      "an unknown log level",
      original("", "", "logLevel: chatty"),
      ['c.yaml:4:11: logLevel: taken as info: must be one of debug, info, warn, error, found "chatty"'],
    ],
    [
      "plain http",
      original("").replace("https", "http"),
      ["c.yaml:2:22: gitea.instanceURL: plain http: the API token travels readable for everyone on the way; use https"],
    ],
    ["plain http on this machine", original("").replace("https://git.example.com", "http://127.0.0.1:3000"), []],
    [
      "no labels",
      original("").replace("labels: [x]", "labels: []"),
      ["c.yaml:3:38: pools[0].runner.labels: none: the pool serves only jobs without runs-on"],
    ],
    [
      "a label twice",
      original("").replace("labels: [x]", 'labels: [x, "x:host"]'),
      ['c.yaml:3:50: pools[0].runner.labels[1]: "x" is listed twice'],
    ],
  ];
  it.each(cases)("%s", (_, content, warnings) => {
    expect(warningsOf(content)).toEqual(warnings);
  });

  it("are joined by warnings of what is dangerous", () => {
    const flags = "legacyRegistrationToken: true, allowPersistentRegistration: true";
    expect(warningsOf(original(flags))).toEqual([
      "c.yaml:2:85: gitea.legacyRegistrationToken: every job can read the registration token and register runners with it",
      "c.yaml:2:85: gitea.legacyRegistrationToken: not used: no pool has runner.agent: original",
      "c.yaml:2:120: gitea.allowPersistentRegistration: with an older forge a job can keep its runner and take other jobs",
    ]);
    expect(errorsOf(original(flags, "driver: native"))).toEqual([
      "c.yaml:2:120: gitea.allowPersistentRegistration: not with a native pool, found pools[0]",
    ]);
  });

  it("means what it says", () => {
    const zero = load(original("", "minRunners: 0, maxRunners: 0")).settings.pools[0];
    expect([zero?.minRunners, zero?.maxRunners]).toEqual([0, 10]);
    expect(load(original("").replace("0.0.0.0", "")).settings.server.address).toEqual({ host: "127.0.0.1", port: 1 });
    expect(load(original("").replace('server: {address: "0.0.0.0:1"}', "")).settings.server.address).toEqual({
      host: "127.0.0.1",
      port: 8080,
    });
    expect(load(original("runnerOwner: o, runnerRepo: r")).settings.targets[0]?.scope).toEqual({
      kind: "org",
      owner: "o",
    });
    expect(load(original("runnerOwner: o, runnerRepo: r, runnerScope: repo")).settings.targets[0]?.key).toBe(
      "https://git.example.com#repo:o/r",
    );
    expect(load(original("", "", "logLevel: WARNING")).settings.logLevel).toBe("warn");
  });
});
