import { describe, expect, it } from "vitest";
import { errorsOf, load, warningsOf } from "./workspace.ts";

const FORGE = "gitea: {instanceURL: https://git.example.com, apiTokenFile: token}\n";
const file = (pool: string) => `${FORGE}pools: [{name: host, driver: native, runner: {labels: [native]}${pool}}]\n`;

describe("a native pool", () => {
  it("has defaults that give jobs the host's programs and nothing else", () => {
    const [pool] = load(file("")).settings.pools;
    expect(pool).toMatchObject({ minRunners: 0, minIdle: 0, memoryMib: 4_096, vcpus: 0, diskMib: 0 });
    expect(pool?.native).toEqual({
      hostPackages: ["/usr"],
      memoryMib: 4_096,
      swapMib: 0,
      tasks: 4_096,
      cpuWeight: 100,
      nix: true,
      groups: [],
      readOnlyPaths: [],
      inaccessiblePaths: [],
      loopback: false,
    });
  });

  it("counts what a job may take against the host's memory", () => {
    expect(load(file(", native: {memoryMib: 512, poolMemoryMib: 900}")).settings.pools[0]).toMatchObject({
      memoryMib: 512,
      native: { poolMemoryMib: 900 },
    });
  });

  it.each([
    [", native: {hostPackages: [usr]}", /hostPackages\[0\]: must be an absolute path/],
    [', native: {readOnlyPaths: ["/a b"]}', /readOnlyPaths\[0\]: must be an absolute path/],
    [', native: {readOnlyPaths: ["/a%i"]}', /readOnlyPaths\[0\]: must be an absolute path/],
    [", native: {inaccessiblePaths: [/a/../b]}", /inaccessiblePaths\[0\]: must not contain \.\./],
    [', native: {groups: ["a,b"]}', /groups\[0\]: must be the name of a group/],
    [", minRunners: 1", /minRunners: must be 0 with driver: native/],
    [", minIdle: 2", /minIdle: must be 0 with driver: native/],
    [", engine: forgejo-runner", /engine: this host has no forgejo-runner; name its binary in guest\.engines/],
  ])("refuses %s", (pool, message) => {
    expect(errorsOf(file(pool))).toEqual([expect.stringMatching(message)]);
  });

  it("is told that a block for it is not used by another driver", () => {
    const other = `${FORGE}pools: [{name: a, driver: fake, runner: {labels: [x]}, native: {tasks: 20}}]\n`;
    expect(warningsOf(other)).toContainEqual(expect.stringContaining("native: not used with driver: fake"));
  });
});
