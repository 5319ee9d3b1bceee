import { mkdir, readdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { removeUnused } from "../../../src/image/build/clean.ts";
import { imagesDirectory, referencesDirectory, writeReference } from "../../../src/image/record.ts";
import { temporaryDirectory } from "./temporary.ts";

const [named, superseded] = ["ab".repeat(32), "cd".repeat(32)];

async function host() {
  const state = await temporaryDirectory();
  const places = { state, run: state };
  const directory = imagesDirectory(places);
  for (const name of [named, superseded, "new-x1", "base"]) {
    await mkdir(join(directory, name), { recursive: true });
    await writeFile(join(directory, name, "file"), "");
  }
  await writeReference(places, "default", `sha256:${named}`);
  return { places, left: async () => (await readdir(directory)).toSorted() };
}

it("what a killed build left goes at once, an image whose name has just changed stays", async () => {
  const { places, left } = await host();
  await removeUnused(places);
  expect(await left()).toEqual([named, "base", superseded, "refs"].toSorted());
});

it("an image without a name goes once nobody can be starting a guest from it", async () => {
  const { places, left } = await host();
  const longAgo = Date.now() / 1000 - 3_600;
  await utimes(join(referencesDirectory(places), "default"), longAgo, longAgo);
  await removeUnused(places);
  expect(await left()).toEqual([named, "base", "refs"].toSorted());
});
