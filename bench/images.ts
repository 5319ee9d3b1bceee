import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "../src/base/exec.ts";
import { createRegistryImages } from "../src/image/store/registry-images.ts";
import { createRootDisks } from "../src/image/store/root-disks.ts";
import { startDockerRegistry } from "../test/support/oci/docker-registry.ts";
import { type Entry, GUEST_FILES, makeImage, tarOf } from "../test/support/oci/images.ts";
import type { Bench, BenchOptions, Figure } from "./harness.ts";

const AT_ONCE = 200;
const { signal } = new AbortController();

/** Root: file systems are mounted, and images taken apart. */
export const images: Bench = {
  name: "images",
  what: "scratch disks through the product on a file system that shares blocks, and an image from a registry against skopeo, tar and mkfs.ext4 by hand",
  async run(options) {
    const directory = await mkdtemp(join(tmpdir(), "ftb-"));
    try {
      const clones = await benchClones(directory, options);
      const { figures, notes } = await benchPull(directory, options);
      return { figures: [...clones, ...figures], notes: [...NOTES, ...notes] };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

const NOTES = [
  "Clones: `RootDisks.clone` on a new XFS (loop device), where blocks are shared; two hundred at once are the time until the last is there.",
];

async function benchClones(directory: string, { quick, progress }: BenchOptions): Promise<Figure[]> {
  const disk = join(directory, "xfs.img");
  const state = join(directory, "xfs");
  await writeFile(disk, "");
  await truncate(disk, 4 * 2 ** 30);
  await exec("mkfs.xfs", ["-q", "-m", "reflink=1", disk]);
  await mkdir(state);
  await exec("mount", ["-o", "loop", disk, state]);
  try {
    const figures: Figure[] = [];
    for (const gibibytes of [2, 8]) {
      progress(`clones of ${gibibytes} GiB`);
      const disks = createRootDisks({ places: { state, run: state }, sizeMib: gibibytes * 1024 });
      const clone = async (name: string): Promise<void> => {
        await disks.clone(name, await made(join(state, `${gibibytes}-${name}`)), signal);
      };
      await clone("first");
      const one = await sampled(quick ? 20 : 200, (round) => clone(`one-${round}`));
      const many: number[] = [];
      for (let round = 0; round < (quick ? 2 : 10); round++) {
        const targets = Array.from({ length: AT_ONCE }, (_, index) =>
          join(state, `${gibibytes}-many-${round}-${index}`),
        );
        for (const target of targets) await mkdir(target);
        const begun = performance.now();
        await Promise.all(targets.map((target) => disks.clone("many", target, signal)));
        many.push(performance.now() - begun);
      }
      const name = `scratch disk of ${gibibytes} GiB`;
      figures.push(
        { name, unit: "ms", samples: one, aims: [{ statistic: "p50", under: 1 }] },
        {
          name: `${AT_ONCE} of ${gibibytes} GiB at once`,
          unit: "ms",
          samples: many,
          aims: [{ statistic: "p50", under: 50 }],
        },
      );
    }
    return figures;
  } finally {
    await exec("umount", [state]);
  }
}

async function sampled(count: number, work: (round: number) => Promise<void>): Promise<number[]> {
  const samples: number[] = [];
  for (let round = 0; round < count; round++) {
    const begun = performance.now();
    await work(round);
    samples.push(performance.now() - begun);
  }
  return samples;
}

async function made(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  return directory;
}

async function benchPull(
  directory: string,
  { quick, progress }: BenchOptions,
): Promise<{ figures: Figure[]; notes: string[] }> {
  await using registry = await startDockerRegistry();
  const files = quick ? 300 : 4_000;
  progress("an image for the registry");
  const image = makeImage([tarOf(GUEST_FILES), ...[1, 2, 3].map((layer) => tarOf(contentOf(layer, files)))]);
  await registry.push("bench/image", "1", image);
  const packed = [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0);
  const reference = `${registry.host}/bench/image:1`;
  const [product, byHand]: [number[], number[]] = [[], []];
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    progress(`round ${round + 1}`);
    const own = await made(join(directory, `round-${round}`));
    byHand.push(...(await sampled(1, () => pullByHand(reference, join(own, "hand")))));
    product.push(...(await sampled(1, () => pullByProduct(registry.host, reference, join(own, "product")))));
    await rm(own, { recursive: true });
  }
  const half = Math.round(packed / 2 ** 20);
  return {
    figures: [
      {
        name: "image from a registry to ext4, by the product",
        unit: "s",
        samples: product.map((each) => each / 1_000),
        aims: [],
      },
      {
        name: "the same by skopeo, tar and mkfs.ext4",
        unit: "s",
        samples: byHand.map((each) => each / 1_000),
        aims: [],
      },
      {
        name: "product against by hand",
        unit: "x",
        samples: product.map((each, index) => each / (byHand[index] ?? 1)),
        aims: [{ statistic: "p50", under: 1.5, because: "our own: it checks more, and applies whiteouts" }],
      },
    ],
    notes: [
      `The image: three layers of ${files} files, ${half} MiB with gzip, from Debian's docker-registry on loopback, by turns. By hand means \`skopeo copy\` to a directory, \`tar\` for each layer over the one before, and \`mkfs.ext4 -d\`; it knows no whiteouts. The product also reads the finished file once more for its digest.`,
    ],
  };
}

/** Files of many sizes; half of a content can be compressed. */
function contentOf(layer: number, files: number): Entry[] {
  let state = layer;
  const noise = Buffer.from(Array.from({ length: 65_536 }, () => (state = (state * 48_271) % 2_147_483_647) & 255));
  return Array.from({ length: files }, (_, index) => {
    const size = index % 200 === 0 ? 1_000_000 : 1_000 + ((index * 7_919) % 24_000);
    const content = Buffer.alloc(size, "some text that repeats itself, ");
    for (let at = 0; at < size / 2; at += noise.length)
      noise.copy(content, at, 0, Math.min(noise.length, size / 2 - at));
    return { name: `opt/layer-${layer}/${index % 50}/file-${index}`, content };
  });
}

async function pullByProduct(host: string, reference: string, state: string): Promise<void> {
  const directory = await made(join(state, "kernel"));
  const vmlinux = join(directory, "vmlinux");
  await writeFile(vmlinux, "no kernel: it is not what is measured");
  const kernel = { release: "none", packageVersion: "none", vmlinux, sha256: "0".repeat(64), modules: directory };
  const registries = new Map([[host, { mirrors: [], plainHttp: true }]]);
  const store = createRegistryImages({
    places: { state, run: state },
    settings: () => ({ authFile: join(state, "none"), mostBytes: 2 ** 33, timeout: 600_000, registries }),
    policyOf: () => "IfNotPresent",
    boot: async () => ({ kernel, initrd: Buffer.from("none") }),
  });
  await store.resolve(reference, signal, () => undefined);
  await store.close();
}

async function pullByHand(reference: string, directory: string): Promise<void> {
  await made(directory);
  const options = { timeout: 600_000 };
  const blobs = join(directory, "dir");
  await exec(
    "skopeo",
    ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", `docker://${reference}`, `dir:${blobs}`],
    options,
  );
  const manifest = JSON.parse(await readFile(join(blobs, "manifest.json"), "utf8")) as { layers: { digest: string }[] };
  const tree = await made(join(directory, "tree"));
  for (const { digest } of manifest.layers) {
    await exec(
      "tar",
      ["-xzpf", join(blobs, digest.replace("sha256:", "")), "-C", tree, "--xattrs", "--numeric-owner"],
      options,
    );
  }
  const target = join(directory, "rootfs.ext4");
  const { stdout } = await exec("du", ["-sk", tree], options);
  await writeFile(target, "");
  await truncate(target, Math.ceil((Number(stdout.split("\t")[0]) * 1_024 * 1.2) / 2 ** 20 + 32) * 2 ** 20);
  await exec(
    "mkfs.ext4",
    [
      "-q",
      "-F",
      "-m",
      "0",
      "-O",
      "^has_journal,^resize_inode,^metadata_csum",
      "-E",
      "nodiscard",
      "-N",
      "20000",
      "-d",
      tree,
      target,
    ],
    options,
  );
  if ((await stat(target)).blocks === 0 || (await readdir(tree)).length === 0)
    throw new Error("nothing was written by hand");
}
