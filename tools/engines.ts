// `node tools/engines.ts`: installs the real engines that the integration tests try, into .cache/engines/.
// Each is a published Go module at a pinned version, so `go install` is all there is to it. What cannot be installed is
// said, and remembered for the tests, which then skip with that reason; it is no error.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./toolchain.mjs";

/**
 * gitea-runner 1.0.8 is the newest that can be had this way: versions from 2.0.0 on do not fit the module's path, and
 * act_runner, as it was called before, has `replace` lines. docs/engines.md says more.
 */
const ENGINES = {
  "gitea-runner": { module: "gitea.com/gitea/runner", version: "v1.0.8" },
  "forgejo-runner": { module: "code.forgejo.org/forgejo/runner/v12", version: "v12.8.2" },
} as const;

export type EngineName = keyof typeof ENGINES;

/** Both modules' programs are called so. */
const PROGRAM = "runner";
/** A build takes about two minutes of one core. */
const BUILD_LIMIT = 15 * 60_000;

const home = join(root, ".cache", "engines");
const folderOf = (name: EngineName): string => join(home, `${name}-${ENGINES[name].version.slice(1)}`);
const reasonFile = (name: EngineName): string => `${folderOf(name)}.missing`;

/** Path of the engine that was installed here, or undefined. */
export function installedEngine(name: EngineName): string | undefined {
  const path = join(folderOf(name), name);
  return existsSync(path) ? path : undefined;
}

/** Why the engine is not installed here. */
export function missingReason(name: EngineName): string {
  const file = reasonFile(name);
  return existsSync(file) ? readFileSync(file, "utf8").trim() : "nobody ran tools/engines.ts here";
}

/** Returns why the engine could not be installed, or undefined where it is there now. */
function installEngine(name: EngineName): string | undefined {
  if (installedEngine(name) !== undefined) return undefined;
  const reason = goInstall(name);
  if (reason !== undefined) writeFileSync(reasonFile(name), `${reason}\n`);
  return reason;
}

function goInstall(name: EngineName): string | undefined {
  const { module, version } = ENGINES[name];
  const folder = folderOf(name);
  const partial = `${folder}.partial-${process.pid}`;
  mkdirSync(partial, { recursive: true });
  try {
    // One package at a time and at low priority: tests and people share this machine.
    const { status, error, stderr } = spawnSync("nice", ["go", "install", "-p", "1", `${module}@${version}`], {
      cwd: partial,
      env: { ...process.env, GOBIN: partial, GOFLAGS: "-mod=mod", GOTOOLCHAIN: "local", CGO_ENABLED: "0" },
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
      timeout: BUILD_LIMIT,
    });
    if (error !== undefined) return `go install could not be run: ${error.message}`;
    if (status !== 0) return `go install ${module}@${version} failed: ${lastLines(stderr)}`;
    renameSync(join(partial, PROGRAM), join(partial, name));
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
    rmSync(reasonFile(name), { force: true });
    return undefined;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

const lastLines = (text: string): string =>
  text
    .trim()
    .split("\n")
    .slice(-2)
    .map((line) => line.trim())
    .join(" ");

if (import.meta.main) {
  for (const name of Object.keys(ENGINES) as EngineName[]) {
    const reason = installEngine(name);
    const place = installedEngine(name) ?? `NOT INSTALLED, its tests will be skipped: ${reason}`;
    process.stdout.write(`${name}: ${place}\n`);
  }
}
