import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { errorsOf, load } from "./workspace.ts";

const example = join(import.meta.dirname, "../../../packaging/examples/firecracker-sizes.yaml");
const file = (pools: string) => `gitea: {instanceURL: https://git.example.com, apiToken: t, runnerOwner: o}
server: {address: "127.0.0.1:1", metricsAddress: "127.0.0.1:2"}
pools: [${pools}]
`;
const pool = (name: string, block: string) =>
  `{name: ${name}, driver: firecracker, runner: {image: i, labels: [x]}, firecracker: {${block}}}`;

describe("pools of Firecracker", () => {
  it("have the sizes of the original's profiles in the example", () => {
    const text = readFileSync(example, "utf8").replace("apiTokenFile: /etc/fireteact/token", "apiToken: t");
    const { settings } = load(text);
    const sizes = settings.pools.map(({ name, memoryMib, vcpus, maxRunners }) => [name, memoryMib, vcpus, maxRunners]);
    expect(sizes).toEqual([
      ["small", 1_024, 1, 2],
      ["medium", 2_048, 2, 5],
      ["large", 4_096, 4, 10],
    ]);
    expect(settings.pools.map(({ diskMib }) => diskMib)).toEqual([10_240, 10_240, 40_960]);
    expect(settings.pools[2]?.firecracker).toMatchObject({ balloon: true });
    expect(settings.pools[2]?.egress.rates).toEqual({ uploadMbit: 500 });
  });

  it("take the image's kernel, or the first pool's with the initrd that goes with it", () => {
    expect(load(file(pool("a", ""))).settings.pools[0]?.firecracker).toEqual({
      jailer: true,
      kernelArgs: "console=ttyS0 reboot=k panic=1 pci=off",
      diskSizeMib: 10_240,
      overheadMib: 256,
      hugePages: false,
      balloon: false,
      mmds: "off",
      imdsCompat: false,
      metadata: {},
    });
    const first = pool("a", "kernelPath: /k, initrdPath: /i");
    const { settings } = load(file(`${first}, ${pool("b", "")}, ${pool("c", "kernelPath: /other")}`));
    const kernels = settings.pools.map(({ firecracker }) => [firecracker?.kernelPath, firecracker?.initrdPath]);
    expect(kernels).toEqual([
      ["/k", "/i"],
      ["/k", "/i"],
      ["/other", undefined],
    ]);
  });

  it("refuse what does not belong together", () => {
    expect(errorsOf(file(pool("a", "initrdPath: /i"))).join()).toContain("an initrd needs the kernelPath");
    expect(errorsOf(file(pool("a", "imdsCompat: true"))).join()).toContain("set mmds to V2 or V1");
    expect(errorsOf(file(pool("a", "mmds: V3"))).join()).toContain("mmds");
  });
});
