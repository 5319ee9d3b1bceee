import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { FireteactError } from "../../../src/base/errors.ts";
import { createLogger } from "../../../src/base/log.ts";
import type { Places } from "../../../src/base/names.ts";
import type { PoolSettings } from "../../../src/core/settings.ts";
import type { BuiltImage } from "../../../src/image/build/build.ts";
import { imageDirectory, writeReference } from "../../../src/image/record.ts";
import { createImages } from "../../../src/image/store/images.ts";
import { createImageUpdates } from "../../../src/serve/image-updates.ts";
import { temporaryDirectory } from "./temporary.ts";

const IMAGE = {
  digest: "sha256:1",
  rootfs: "r",
  rootfsType: "ext4" as const,
  kernel: "k",
  initrd: "i",
  kernelVersion: "6",
};
const BUILT: BuiltImage = { image: IMAGE, changed: true, bytes: 1, milliseconds: 1 };

async function host(pool: object, build: (signal: AbortSignal) => Promise<BuiltImage>) {
  const state = await temporaryDirectory();
  const places = { state, run: state };
  let changes = 0;
  const built: string[] = [];
  const images = createImages({
    places,
    build: (name, signal) => {
      built.push(name);
      return build(signal);
    },
  });
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("info", { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  const pools = [{ name: "a", ...pool } as PoolSettings];
  return {
    places,
    changes: () => changes,
    built,
    images,
    lines,
    updates: createImageUpdates({
      settings: () => ({ pools }),
      images,
      log,
      clock: systemClock,
      changed: () => changes++,
    }),
  };
}

describe("the default image", () => {
  it.each([{ qemu: {} }, { qemu: {}, image: "default" }, { qemu: {}, image: "local:default" }])(
    "is brought up to date after a reload, not at the start: %j",
    async (pool) => {
      const { built, updates } = await host(pool, () => Promise.resolve(BUILT));
      await updates.begin();
      expect(built).toEqual([]);
      await updates.begin();
      await updates.begin();
      expect(built).toEqual(["default", "default"]);
    },
  );

  it.each([{ qemu: {}, image: "local:own" }, {}])("is left alone where no pool uses it: %j", async (pool) => {
    const { built, updates } = await host(pool, () => Promise.resolve(BUILT));
    await updates.begin();
    await updates.begin();
    expect(built).toEqual([]);
  });

  it("that cannot be built is an error with what to do, and is tried again for the next guest", async () => {
    let broken = true;
    const { built, images, lines, updates } = await host({ qemu: {} }, () =>
      broken ? Promise.reject(new FireteactError("X", "no certificate", { hint: "mend it" })) : Promise.resolve(BUILT),
    );
    await updates.begin();
    await updates.begin();
    expect(lines).toMatchObject([{ level: "error", cause: "no certificate", hint: "mend it" }]);
    broken = false;
    expect(await images.resolve("default", new AbortController().signal, () => undefined)).toEqual(IMAGE);
    expect(built).toHaveLength(2);
  });

  it("is built no further when the program ends", async () => {
    const { lines, updates } = await host(
      { qemu: {} },
      (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted")))),
    );
    await updates.begin();
    const update = updates.begin();
    await updates.stop();
    await update;
    expect(lines).toEqual([]);
  });
});

describe("an image of another name", () => {
  const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
  const write = async (places: Places, digit: string) => {
    const directory = imageDirectory(places, digest(digit));
    await mkdir(directory, { recursive: true });
    const record = { ...IMAGE, digest: digest(digit), inputs: "i", builtAt: 1 };
    await writeFile(join(directory, "image.json"), JSON.stringify(record));
    await writeReference(places, "own", digest(digit));
  };

  it("is noticed when it was built anew, and told once", async () => {
    const { places, updates, changes } = await host({ qemu: {}, image: "local:own" }, () => Promise.resolve(BUILT));
    await updates.look();
    expect([updates.digest("local:own"), changes()]).toEqual([undefined, 0]);
    await write(places, "1");
    await updates.look();
    await updates.look();
    expect([updates.digest("local:own"), changes()]).toEqual([digest("1"), 1]);
    await write(places, "2");
    await updates.look();
    expect([updates.digest("local:own"), changes()]).toEqual([digest("2"), 2]);
    await updates.stop();
  });
});
