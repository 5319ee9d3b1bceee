import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { exec } from "../../../src/base/exec.ts";
import { imageDirectory } from "../../../src/image/record.ts";
import { MINUTE, PLACES } from "./host.ts";

const DIST = join(import.meta.dirname, "../../../dist");
/** The program as it is installed, not its sources. */
export const PROGRAM = join(DIST, "main.cjs");

export const ENVIRONMENT = {
  PATH: process.env["PATH"] ?? "",
  FIRETEACT_STATE_DIR: PLACES.state,
  FIRETEACT_RUN_DIR: PLACES.run,
};

export interface GuestSettings {
  caFiles?: string[];
  env?: Record<string, string>;
}

/** A built image, and its parts that a pool may replace one by one. */
export interface TestImage {
  reference: string;
  guest: GuestSettings;
  kernel: string;
  initrd: string;
}

/** Builds a guest image with the program itself; without changes since the last run that takes less than a second. */
export async function buildTestImage(name = "default", guest: GuestSettings = {}): Promise<TestImage> {
  for (const bundle of ["main.cjs", "agent.cjs", "shell-engine.cjs"]) {
    if (!existsSync(join(DIST, bundle))) throw new Error(`dist/${bundle} is missing; make it with: npm run build`);
  }
  mkdirSync(PLACES.state, { recursive: true, mode: 0o711 });
  const reference = `local:${name}`;
  const config = join(PLACES.state, `image-${name}.yaml`);
  const pool = { name, driver: "qemu", engine: "shell", runner: { image: reference, labels: [name] } };
  const gitea = { instanceURL: "http://localhost", apiToken: "none" };
  writeFileSync(config, stringify({ gitea, guest, pools: [pool] }));
  const command = [PROGRAM, "image", "build", "--name", name, "--config", config, "--json"];
  const variables = Object.entries(ENVIRONMENT).map(([key, value]) => `${key}=${value}`);
  const { stdout } = await exec("env", [...variables, process.execPath, ...command], { timeout: 10 * MINUTE });
  const { built } = JSON.parse(stdout) as { built: { digest: string } };
  const directory = imageDirectory(PLACES, built.digest);
  return { reference, guest, kernel: join(directory, "vmlinux"), initrd: join(directory, "initrd") };
}
