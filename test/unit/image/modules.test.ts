import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dependenciesOf, loadOrder } from "../../../src/image/kernel/modules.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "modules-"));
  await mkdir(join(directory, "kernel/drivers/net"), { recursive: true });
  await writeFile(join(directory, "modules.builtin"), "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-16.ko\n");
});
afterEach(() => rm(directory, { recursive: true }));

const content = (depends: string) =>
  Buffer.from(`\x7fELF...\0license=GPL\0depends=${depends}\0vermagic=6.1\0`, "latin1");
const add = (name: string, depends: string, folder = "kernel") =>
  writeFile(join(directory, folder, `${name}.ko`), content(depends));

describe("kernel modules", () => {
  it("come after what they depend on, each once", async () => {
    await add("virtio", "");
    await add("virtio_ring", "virtio");
    await add("failover", "");
    await add("virtio_net", "virtio_ring,failover,virtio", "kernel/drivers/net");
    await add("virtio_blk", "virtio,virtio_ring");
    const order = await loadOrder(directory, ["virtio_blk", "virtio_net"]);
    expect(order.map(({ name }) => name)).toEqual(["virtio", "virtio_ring", "virtio_blk", "failover", "virtio_net"]);
  });

  it("are found by either spelling, and left out where the kernel has them built in", async () => {
    await add("virtio-rng", "ext4,crc_16");
    const order = await loadOrder(directory, ["virtio_rng", "ext4"]);
    expect(order.map(({ name }) => name)).toEqual(["virtio_rng"]);
  });

  it("are an error with a name when the kernel lacks one, also as a dependency", async () => {
    await add("overlay", "exportfs");
    await expect(loadOrder(directory, ["overlay"])).rejects.toMatchObject({
      code: "KERNEL_MODULE",
      message: "The kernel has no module exportfs",
    });
  });

  it("say what they depend on themselves", () => {
    expect(dependenciesOf(content("a-b,c"))).toEqual(["a_b", "c"]);
    expect(dependenciesOf(content(""))).toEqual([]);
    expect(dependenciesOf(Buffer.from("no such field"))).toEqual([]);
  });
});
