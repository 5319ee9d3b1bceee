import { describe, expect, it } from "vitest";
import { poolOf, poolsOf, targetKey } from "../../../src/core/settings.ts";
import { FORGE, load, POOL } from "./workspace.ts";

const MINUTE = 60_000;

describe("what nobody set", () => {
  const loaded = () => load(`${FORGE}${POOL}`).settings;

  it("has the documented defaults", () => {
    const settings = loaded();
    expect(settings).toMatchObject({
      logLevel: "info",
      server: { address: { host: "127.0.0.1", port: 8080 }, metricsAddress: { host: "127.0.0.1", port: 8081 } },
      shutdown: "detach",
      drainTimeout: 190 * MINUTE,
      pollInterval: 5_000,
      guest: { caFiles: [], env: {} },
      images: { maxSizeMib: 20_480, pullTimeout: 30 * 60_000, registries: [] },
      network: { subnet: "10.201.0.0/24", dns: [] },
      fleet: { hosts: 1 },
      host: {},
    });
    expect(settings).not.toHaveProperty("webhook");
    expect(settings.server).not.toHaveProperty("socket");
  });

  it("has the documented defaults in a qemu pool", () => {
    expect(loaded().pools[0]).toEqual({
      name: "a",
      order: 0,
      labels: ["x"],
      runnerLabels: ["x:host"],
      minRunners: 1,
      maxRunners: 10,
      minIdle: 0,
      driver: "qemu",
      target: "https://git.example.com#instance",
      prefix: "a",
      memoryMib: 2_048,
      vcpus: 2,
      diskMib: 10_240,
      limits: {
        boot: 2 * MINUTE,
        ready: MINUTE,
        idle: 15 * MINUTE,
        engine: 180 * MINUTE,
        job: 190 * MINUTE,
        lifetime: 208 * MINUTE,
      },
      image: "i",
      egress: { reach: "internet-only", allow: [], rates: {} },
      imagePullPolicy: "IfNotPresent",
      qemu: { accelerator: "auto", diskSizeMib: 10_240 },
    });
  });

  it("is the forge's own engine", () => {
    const { pools, guest } = loaded();
    const pool = { ...pools[0]!, driver: "firecracker" as const };
    expect(poolOf(pool, "gitea", guest).engine).toBe("gitea-runner");
    expect(poolOf(pool, "forgejo", guest).engine).toBe("forgejo-runner");
    expect(poolOf({ ...pool, engine: "shell" }, "gitea", guest).engine).toBe("shell");
    expect(poolOf({ ...pool, mute: true }, "forgejo", guest)).toMatchObject({ engine: "gitea-runner", mute: true });
    expect(poolOf(pool, "gitea", guest)).not.toHaveProperty("runnerLabels");
  });

  it("is the built-in one in an image of ours that has no other", () => {
    const { pools, guest: bare } = loaded();
    const pool = { ...pools[0]!, driver: "qemu" as const };
    expect(poolOf(pool, "gitea", bare).engine).toBe("shell");
    expect(poolOf(pool, "gitea", { ...bare, engines: { "gitea-runner": "/r" } }).engine).toBe("gitea-runner");
    expect(poolOf(pool, "forgejo", { ...bare, engines: { "gitea-runner": "/r" } }).engine).toBe("shell");
  });
});

describe("limits", () => {
  const limitsOf = (global: string, own: string) => {
    const content = `${FORGE}limits: {${global}}\npools: [{name: a, driver: fake, runner: {labels: [x]}, limits: {${own}}}]\n`;
    return load(content).settings.pools[0]?.limits;
  };
  it("of a pool go before the global ones", () => {
    expect(limitsOf("idle: 5m, boot: 3m", "idle: 1m")).toMatchObject({ idle: MINUTE, boot: 3 * MINUTE });
  });
  it("follow each other", () => {
    expect(limitsOf("engine: 6h", "")).toMatchObject({ job: 370 * MINUTE, lifetime: 388 * MINUTE });
    expect(limitsOf("", "job: 1h")).toMatchObject({ engine: 54 * MINUTE, job: 60 * MINUTE, lifetime: 78 * MINUTE });
  });
});

describe("targets", () => {
  const pools = (...forges: string[]) =>
    `gitea: {instanceURL: https://g, apiToken: t, runnerOwner: o, runnerRepo: r, runnerScope: repo}
limits: {}
pools:
${forges.map((forge, index) => `  - {name: p${index}, driver: fake, runner: {labels: [x]}, forge: {${forge}}}`).join("\n")}
`;
  it("are listed once each, with the keys that pools point to", () => {
    const { settings } = load(
      pools("", "", "scope: instance", "scope: org", "owner: q", "scope: repo, repo: s", "scope: user"),
    );
    const keys = [
      "https://g#repo:o/r",
      "https://g#instance",
      "https://g#org:o",
      "https://g#org:q",
      "https://g#repo:o/s",
      "https://g#user",
    ];
    expect(settings.targets.map((target) => target.key)).toEqual(keys);
    expect(settings.pools.map((pool) => pool.target)).toEqual([keys[0], ...keys]);
  });
  it("have a token of their own where the pool has", () => {
    const { settings } = load(pools("scope: org, apiTokenFile: ./token", ""));
    expect(settings.targets.map((target) => target.token.kind)).toEqual(["file", "inline"]);
  });
  it("need no global token when every pool has its own", () => {
    const content = pools("scope: org, apiTokenFile: ./token").replace(" apiToken: t,", "");
    expect(load(content).settings.targets).toHaveLength(1);
  });
  it("have one key each", () => {
    expect(targetKey("https://git.example.com", { kind: "org", owner: "my-org" })).toBe(
      "https://git.example.com#org:my-org",
    );
    expect(targetKey("https://g", { kind: "repo", owner: "o", repo: "r" })).toBe("https://g#repo:o/r");
    expect(targetKey("https://g", { kind: "user" })).toBe("https://g#user");
  });
  it("come from the block forge as well", () => {
    expect(load(`${FORGE.replace("gitea", "forge")}${POOL}`).settings.targets[0]?.url).toBe("https://git.example.com");
  });
});

describe("pools", () => {
  it("keep what labels say after the colon, and match by name", () => {
    const labels = '[x, "y:host", "z:docker://node:22", x]';
    const { settings } = load(`${FORGE}pools: [{name: a, driver: fake, runner: {labels: ${labels}}}]\n`);
    expect(settings.pools[0]?.labels).toEqual(["x", "y", "z"]);
    expect(settings.pools[0]?.runnerLabels).toEqual(["x:host", "y:host", "z:docker://node:22"]);
  });
  it("of firecracker are jailed; one that is not says what is lost", () => {
    const blocks = ["{jailerPath: /opt/fc/jailer}", "{jailer: false, kernelPath: /k}"];
    const pools = blocks.map(
      (block, index) => `{name: p${index}, runner: {image: i, labels: [x]}, firecracker: ${block}}`,
    );
    const { settings, warnings } = load(`${FORGE}host: {jailDir: /srv/jails}\npools: [${pools.join(", ")}]\n`);
    const jailed = settings.pools.map((pool) => pool.firecracker);
    expect(jailed).toMatchObject([{ jailer: true, jailerPath: "/opt/fc/jailer" }, { jailer: false }]);
    expect(settings.host).toEqual({ jailDir: "/srv/jails" });
    const lost = warnings.filter(({ key }) => key === "pools[1].firecracker.jailer");
    expect(lost.map(({ message }) => message)).toEqual([expect.stringContaining("sees the host's processes")]);
  });
  it("can be listed by driver", () => {
    const { settings } = load(
      `${FORGE}pools: [{name: a, runner: {image: i, labels: [x]}}, {name: b, driver: fake}, {name: c, driver: native}]\n`,
    );
    expect(poolsOf(settings, "firecracker")).toEqual(["a"]);
    expect(poolsOf(settings, "fake")).toEqual(["b"]);
  });
  it("may use anchors on keys too", () => {
    const { settings } = load(`${FORGE}pools: [{&n name: a, driver: fake, runner: {labels: [*n ]}}]\n`);
    expect(settings.pools[0]?.labels).toEqual(["name"]);
  });
  it("merge maps as YAML does", () => {
    const { settings } = load(`${FORGE}pools:
  - &base {name: a, driver: qemu, runner: {image: i, labels: [x]}, qemu: &q {vcpuCount: 4}}
  - {<<: *base, name: b, qemu: {<<: [*q], memSizeMib: 512}}
`);
    expect(settings.pools.map((pool) => [pool.name, pool.vcpus, pool.memoryMib])).toEqual([
      ["a", 4, 2_048],
      ["b", 4, 512],
    ]);
  });
});
