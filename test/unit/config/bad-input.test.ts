import { describe, expect, it } from "vitest";
import { ConfigError } from "../../../src/config/problems.ts";
import { caught, errorsOf, FORGE, load, POOL } from "./workspace.ts";

/** A file with one pool in flow style on line 2, whose keys are given. */
const pool = (keys: string) => `${FORGE}pools: [{driver: qemu, runner: {image: i, labels: [x]}, ${keys}}]\n`;
const gitea = (keys: string) => `${POOL}gitea: {${keys}}\n`;
const top = (line: string) => `${FORGE}${POOL}${line}\n`;
const URL = "instanceURL: https://git.example.com";

describe("one mistake gives one clear line", () => {
  const cases: [name: string, content: string, expected: string[]][] = [
    [
      "an empty file",
      "",
      [
        "c.yaml:1:1: pools: missing: the pools of runners, in order of preference",
        "c.yaml:1:1: gitea: missing: the forge's address and token (instanceURL, apiTokenFile)",
      ],
    ],
    ["a list instead of a map", "- a\n", ["c.yaml:1:1: must be a map of keys, found a list of 1"]],
    ["a bare word", "hello\n", ['c.yaml:1:1: must be a map of keys, found "hello"']],
    [
      "an open quote",
      'gitea: "x\n',
      ["c.yaml:2:1: not valid YAML: a character is missing: a closing quote or bracket, a colon or a comma"],
    ],
    ["a tab", "gitea:\n\tx: 1\n", ["c.yaml:2:1: not valid YAML: indented with a tab; YAML wants spaces"]],
    [
      "wrong indentation",
      "a:\n    b: 1\n  c: 2\n",
      ["c.yaml:3:1: not valid YAML: the indentation does not fit the lines above"],
    ],
    [
      "two documents",
      `${FORGE}---\n${POOL}`,
      ["c.yaml:2:1: not valid YAML: there are several documents (---) in the file; keep one"],
    ],
    [
      "an unknown alias",
      `${FORGE}pools: *pools\n`,
      ["c.yaml:2:8: pools: this alias names no anchor that stands before it"],
    ],
    ["a key twice", `${FORGE}${POOL}${FORGE}`, ["c.yaml:3:1: gitea: this key is there twice; keep one"]],
    ["a map as key", top("{a: b}: c"), ["c.yaml:3:1: a key must be a single word"]],

    [
      "an unknown key",
      top("colour: red"),
      [expect.stringContaining("c.yaml:3:1: colour: unknown key; allowed here: server, logLevel, gitea, forge, pools")],
    ],
    [
      "a typing error",
      pool("name: a, minRunnres: 2"),
      ["c.yaml:2:66: pools[0].minRunnres: unknown key; did you mean minRunners?"],
    ],
    [
      "wrong capitals",
      gitea(`instanceUrl: https://git.example.com, apiTokenFile: ./token`),
      [
        "c.yaml:2:1: gitea.instanceURL: missing: address of the forge, with its path if it has one",
        "c.yaml:2:9: gitea.instanceUrl: unknown key; did you mean instanceURL?",
      ],
    ],
    [
      "a key in the wrong place",
      pool("name: a, labels: [b]"),
      ["c.yaml:2:66: pools[0].labels: unknown key here; it belongs into pools[].runner"],
    ],
    [
      "an odd key",
      top('"a: b": 1'),
      [expect.stringContaining('c.yaml:3:1: "a: b": unknown key "a: b"; allowed here:')],
    ],

    [
      "a text for a number",
      pool("name: a, maxRunners: ten"),
      ['c.yaml:2:78: pools[0].maxRunners: must be a whole number, found "ten"'],
    ],
    [
      "a fraction",
      pool("name: a, maxRunners: 1.5"),
      ["c.yaml:2:78: pools[0].maxRunners: must be a whole number, found 1.5"],
    ],
    [
      "a negative number",
      pool("name: a, minRunners: -1"),
      ["c.yaml:2:78: pools[0].minRunners: must be at least 0, found -1"],
    ],
    ["a list for a map", top("server: [a, b]"), ["c.yaml:3:1: server: must be a map of keys, found a list of 2"]],
    ["a text for a list", `${FORGE}pools: all\n`, ['c.yaml:2:8: pools: must be a list, found "all"']],
    ["no pools", `${FORGE}pools: []\n`, ["c.yaml:2:1: pools: must name at least one pool, found a list of 0"]],
    ["an empty pool", `${FORGE}pools: [null]\n`, ["c.yaml:2:9: pools[0]: must be a map of keys, found nothing"]],
    [
      "a word for yes",
      gitea(`${URL}, apiTokenFile: ./token, allowPersistentRegistration: sometimes`),
      ['c.yaml:2:99: gitea.allowPersistentRegistration: must be true or false, found "sometimes"'],
    ],
    [
      "an unknown driver",
      `${FORGE}pools: [{name: a, driver: qmeu, runner: {image: i, labels: [x]}}]\n`,
      [
        'c.yaml:2:27: pools[0].driver: must be one of firecracker, qemu, native, fake, found "qmeu"; did you mean qemu?',
      ],
    ],

    [
      "min above max",
      pool("name: a, minRunners: 5, maxRunners: 2"),
      ["c.yaml:2:78: pools[0].minRunners: must be at most maxRunners, found 5 > 2"],
    ],
    [
      "min above the default of max",
      pool("name: a, minRunners: 11"),
      ["c.yaml:2:78: pools[0].minRunners: must be at most maxRunners, found 11 > 10"],
    ],
    [
      "idle above max",
      pool("name: a, minIdle: 11"),
      ["c.yaml:2:75: pools[0].minIdle: must be at most maxRunners, found 11 > 10"],
    ],
    [
      "a bad max is not held against min",
      pool("name: a, minRunners: 20, maxRunners: x"),
      ['c.yaml:2:94: pools[0].maxRunners: must be a whole number, found "x"'],
    ],
    ["no name", pool("minIdle: 1"), ["c.yaml:2:9: pools[0].name: missing: the pool's name, unique in this file"]],
    [
      "a name with a slash",
      pool("name: a/b"),
      [
        'c.yaml:2:63: pools[0].name: must start and end with a letter or digit and have only letters, digits and . _ - inside: it becomes part of ids, file names and host names, found "a/b"',
      ],
    ],
    [
      "a long name",
      pool(`name: ${"a".repeat(39)}`),
      [
        `c.yaml:2:63: pools[0].name: must have at most 38 characters: with a dash and 24 digits it becomes a host name, which ends at 63, found "${"a".repeat(39)}"`,
      ],
    ],
    [
      "a pool twice",
      `${FORGE}pools: [${"{name: a, driver: fake, runner: {labels: [x]}}, ".repeat(2)}]\n`,
      ['c.yaml:2:64: pools[1].name: "a" is already the name of pools[0]; names are unique'],
    ],
    [
      "no image",
      `${FORGE}pools: [{name: a, driver: qemu, runner: {labels: [x]}}]\n`,
      ["c.yaml:2:33: pools[0].runner.image: missing: the image that the pool's microVMs boot"],
    ],
    [
      "qemu without driver",
      `${FORGE}pools: [{name: a, runner: {image: i, labels: [x]}, qemu: {vcpuCount: 1}}]\n`,
      ["c.yaml:2:52: pools[0].qemu: a pool without driver is a firecracker pool; add driver: qemu"],
    ],
    [
      "a lone initrd",
      pool("name: a, qemu: {initrdPath: /i}"),
      ["c.yaml:2:85: pools[0].qemu.initrdPath: an initrd needs the kernelPath it belongs to"],
    ],
    [
      "a label with a space",
      `${FORGE}pools: [{name: a, driver: fake, runner: {labels: [a b]}}]\n`,
      [
        'c.yaml:2:51: pools[0].runner.labels[0]: must have no spaces, commas or control characters: labels are joined with commas, found "a b"',
      ],
    ],
    [
      "an empty label",
      `${FORGE}pools: [{name: a, driver: fake, runner: {labels: [""]}}]\n`,
      ["c.yaml:2:51: pools[0].runner.labels[0]: must not be empty"],
    ],
    [
      "a label of an unknown kind",
      `${FORGE}pools: [{name: a, driver: fake, runner: {labels: ["a:vm"]}}]\n`,
      ['c.yaml:2:51: pools[0].runner.labels[0]: must be a bare name, name:host or name:docker://image, found "a:vm"'],
    ],
    [
      "a container label for the shell",
      `${FORGE}pools: [{name: a, driver: fake, engine: shell, runner: {labels: ["a:docker://b"]}}]\n`,
      [
        'c.yaml:2:66: pools[0].runner.labels[0]: the engine shell runs jobs without containers: write "a" or choose another engine',
      ],
    ],
    [
      "a label of 10 MB",
      `${FORGE}pools: [{name: a, driver: fake, runner: {labels: [${"x".repeat(10_000_000)}]}}]\n`,
      [
        `c.yaml:2:51: pools[0].runner.labels[0]: must have at most 255 characters, more no forge keeps, found "${"x".repeat(40)}..." (10000000 characters)`,
      ],
    ],

    [
      "both forge blocks",
      top(FORGE.replace("gitea", "forge")),
      ["c.yaml:3:1: forge: gitea and forge are two names of the same block; keep one"],
    ],
    [
      "no token",
      gitea(URL),
      ["c.yaml:2:1: gitea.apiTokenFile: missing: a file with the API token (or apiToken with the token itself)"],
    ],
    [
      "no owner",
      gitea(`${URL}, apiTokenFile: ./token, runnerScope: org`),
      ["c.yaml:2:1: gitea.runnerOwner: missing: runnerScope org needs an owner"],
    ],
    [
      "no repository",
      gitea(`${URL}, apiTokenFile: ./token, runnerScope: repo, runnerOwner: o`),
      ["c.yaml:2:1: gitea.runnerRepo: missing: runnerScope repo needs a repository"],
    ],
    [
      "owner and repository in one",
      gitea(`${URL}, apiTokenFile: ./token, runnerScope: repo, runnerOwner: o, runnerRepo: o/r`),
      [
        'c.yaml:2:117: gitea.runnerRepo: must be a bare name of the forge (letters, digits and . _ -), without slashes, found "o/r"',
      ],
    ],
    [
      "a pool without owner",
      pool("name: a, forge: {scope: org}"),
      ["c.yaml:2:66: pools[0].forge.owner: missing: scope org needs an owner here or as gitea.runnerOwner"],
    ],
    [
      "a pool's repository without scope",
      pool("name: a, forge: {owner: o, repo: r}"),
      ["c.yaml:2:90: pools[0].forge.repo: one repository needs scope: repo beside it"],
    ],
    [
      "no URL",
      gitea("instanceURL: git.example.com, apiTokenFile: ./token"),
      [
        'c.yaml:2:22: gitea.instanceURL: must be an address such as https://git.example.com, without user, query or fragment, found "git.example.com"',
      ],
    ],
    [
      "one scope with two tokens",
      `${FORGE}pools:\n  - {name: a, driver: fake}\n  - {name: b, driver: fake, forge: {apiTokenFile: ./token}}\n`,
      [
        'c.yaml:4:51: pools[1].forge.apiTokenFile: pools[0] has the same scope, "instance", with another token; use one for both',
      ],
    ],

    [
      "a duration without unit",
      top("limits: {idle: 90}"),
      ['c.yaml:3:16: limits.idle: must be a duration with units, such as 90s, 15m or 3h10m, found "90"'],
    ],
    [
      "a duration too long",
      top("pollInterval: 2h"),
      ['c.yaml:3:15: pollInterval: must be between 1s and 1h, found "2h"'],
    ],
    [
      "another engine with the original's agent",
      `${FORGE}pools: [{name: a, driver: qemu, engine: shell, runner: {image: i, labels: [x], agent: original}}]\n`,
      ["c.yaml:2:41: pools[0].engine: the original's agent starts act_runner, found shell; leave engine out"],
    ],
    [
      "the original's agent without an image",
      `${FORGE}pools: [{name: a, driver: native, runner: {labels: [x], agent: original}}]\n`,
      ["c.yaml:2:64: pools[0].runner.agent: original is for images; a pool with driver: native has none"],
    ],
    [
      "a job limit below the engine's",
      top("limits: {engine: 2h, job: 1h}"),
      ["c.yaml:3:27: limits.job: must be at least the engine's limit, found 1h < 2h"],
    ],
    [
      "a lifetime below the job's",
      top("limits: {lifetime: 1h}"),
      ["c.yaml:3:20: limits.lifetime: must be at least the job limit, found 1h < 3h10m"],
    ],

    [
      "an address without port",
      top("server: {address: localhost}"),
      [
        'c.yaml:3:19: server.address: must be host:port, such as 127.0.0.1:8082, [::1]:8082 or 0.0.0.0:8082 for every network, found "localhost"',
      ],
    ],
    [
      "one port for both",
      top('server: {address: "0.0.0.0:8081"}'),
      ["c.yaml:3:1: server.metricsAddress: must differ from server.address, found port 8081 for both"],
    ],
    [
      "one port for both on this machine",
      top('server: {address: ":8081"}'),
      ["c.yaml:3:1: server.metricsAddress: must differ from server.address, found port 8081 for both"],
    ],
    [
      "a long socket path",
      top(`server: {socket: /${"s".repeat(107)}}`),
      [expect.stringContaining("c.yaml:3:18: server.socket: must have at most 107 bytes, as every unix socket's path")],
    ],
    [
      "an address inside of a network",
      top("network: {subnet: 10.0.0.1/24}"),
      [
        'c.yaml:3:19: network.subnet: must be the address of an IPv4 network from /16 to /28, such as 10.201.0.0/24, found "10.0.0.1/24"',
      ],
    ],
    [
      "the metadata network",
      top("network: {subnet: 169.254.0.0/16}"),
      [
        'c.yaml:3:19: network.subnet: must be apart from 127.0.0.0/8, 169.254.0.0/16 (metadata) and 172.31.0.0/30 (inside of every guest), found "169.254.0.0/16"',
      ],
    ],
    [
      "a bad name server",
      top("network: {dns: [dns.example.com]}"),
      ['c.yaml:3:17: network.dns[0]: must be an IPv4 address, found "dns.example.com"'],
    ],
    [
      "a host name that is none",
      top("fleet: {hosts: [ci-1, 'ci 2']}"),
      ['c.yaml:3:23: fleet.hosts[1]: must be a host name, such as ci-1 or ci-1.example.com, found "ci 2"'],
    ],
    [
      "a bad variable name",
      top('guest: {env: {"A B": c}}'),
      ['c.yaml:3:22: guest.env."A B": must be the name of an environment variable'],
    ],
  ];
  it.each(cases)("%s", (_, content, expected) => {
    expect(errorsOf(content)).toEqual(expected);
  });
});

it("reports everything at once, in the file's order", () => {
  const content =
    "server: {adress: a}\ngitea: {apiToken: $x, runnerScope: team}\npools: [{name: a, driver: qemu}, {name: a, maxRunners: x}]\n";
  expect(errorsOf(content).map((line) => line.split(": ")[1])).toEqual([
    "server.adress",
    "gitea.instanceURL",
    "gitea.apiToken",
    "gitea.runnerScope",
    "pools[0].runner.image",
    "pools[1].runner.image",
    "pools[1].name",
    "pools[1].maxRunners",
  ]);
});

it("stops counting somewhere", () => {
  const problems = errorsOf(`${FORGE}${POOL}${Array.from({ length: 150 }, (_, index) => `zzz${index}: 1\n`).join("")}`);
  expect(problems).toHaveLength(101);
  expect(problems.at(-1)).toBe("c.yaml: and 50 more problems");
});

describe("hostile texts", () => {
  it("bounds what aliases expand to", () => {
    const bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let level = 1; level < 10; level++) bomb.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`);
    expect(errorsOf(bomb.join("\n"))).toEqual([
      expect.stringMatching(/^c\.yaml:\d+:\d+: the file expands to too many values$/),
    ]);
  });
  it("survives an alias inside of its own anchor", () => {
    expect(errorsOf("a: &a [*a]\n")).toEqual([expect.stringContaining("nested too deeply")]);
  });
  it("survives ten thousand brackets", () => {
    expect(errorsOf("[".repeat(10_000)).slice(0, 1)).toEqual([
      expect.stringMatching(/^c\.yaml:1:\d+: not valid YAML: nested too deeply$/),
    ]);
  });
  it("survives ten thousand keys", () => {
    const keys = Array.from({ length: 10_000 }, (_, index) => `k${index}: 1`).join("\n");
    expect(errorsOf(`${FORGE}${POOL}${keys}`)).toHaveLength(101);
  });
  it("keeps prototypes out", () => {
    expect(errorsOf(`${FORGE}${POOL}__proto__: {driver: fake}\nconstructor: 1\n`)).toEqual([
      expect.stringContaining("c.yaml:3:1: __proto__: unknown key"),
      expect.stringContaining("c.yaml:4:1: constructor: unknown key"),
    ]);
  });
  it("refuses what is not UTF-8", () => {
    expect(errorsOf(Buffer.from([0x61, 0xff, 0xfe]))).toEqual(["c.yaml: is not UTF-8 text"]);
  });
});

describe("the error as a whole", () => {
  it("says how many problems there are and what to do", () => {
    const error = caught(() => load(FORGE));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.message).toMatch(/^\S+c\.yaml: 1 problem in the configuration\n\S+c\.yaml:1:1: pools: missing: /);
    expect(error.hint).toContain("fireteact config check");
  });
  it("carries the warnings too", () => {
    expect(caught(() => load("logLevel: debgu\nshutdown: kill\n")).warnings[0]?.message).toBe(
      'taken as info: must be one of debug, info, warn, error, found "debgu"; did you mean debug?',
    );
  });
});
