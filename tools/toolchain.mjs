// Brings the pinned Node into the checkout (never system-wide) and the npm packages after it.
// Plain JavaScript that needs nothing but Node 20, since it runs before everything else.
// Node must come first: npm picks older versions of packages whose `engines` exclude the Node that runs it.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const FLOOR = 24;
const PINNED = { 24: "24.21.0", 26: "26.10.0" };

/** Says one line on stderr, so that stdout stays for the command's own output. */
function say(line) {
  process.stderr.write(`fireteact: ${line}\n`);
}

/**
 * Returns the path of a Node of the wanted major version: this process's own when it is new enough,
 * else one fetched from the npm registry into `.toolchain/`.
 */
export function ensureNode(major = FLOOR, exact = false) {
  const own = Number(process.versions.node.split(".")[0]);
  if (own === major || (!exact && own > major)) return process.execPath;
  const version = PINNED[major];
  const home = join(root, ".toolchain", `node-${version}`);
  const node = join(home, "node_modules", platformPackage(), "bin", "node");
  if (existsSync(node)) return node;
  say(
    `Node ${process.versions.node} is older than ${major}; fetching Node ${version} into .toolchain/ (about 40 MB, once)`,
  );
  const partial = `${home}.partial-${process.pid}`;
  mkdirSync(partial, { recursive: true });
  try {
    writeFileSync(join(partial, "package.json"), "{}\n");
    npm(
      [
        "install",
        "--prefix",
        partial,
        "--no-save",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        `${platformPackage()}@${version}`,
      ],
      process.env,
    );
    rmSync(home, { recursive: true, force: true });
    renameSync(partial, home);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return node;
}

function platformPackage() {
  const arch = { x64: "x64", arm64: "arm64" }[process.arch];
  if (process.platform !== "linux" || !arch) {
    throw new Error(
      `Fireteact runs on Linux on x64 or arm64, this is ${process.platform} on ${process.arch}. Install Node ${FLOOR} yourself and try again.`,
    );
  }
  return `node-linux-${arch}`;
}

/** Environment in which `node` and `npm` are the pinned ones. */
export function environment(node) {
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? "/usr/bin:/bin"}` };
  for (const key of Object.keys(env))
    if (/^npm_(package|lifecycle|node_execpath|config_(local_prefix|prefix|node_gyp|global_prefix))/.test(key))
      delete env[key];
  return env;
}

/** Installs the locked packages when the lock file changed since the last time. */
export function ensureModules(node) {
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  const stamp = join(root, "node_modules", ".fireteact-lock");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  say("installing the npm packages of package-lock.json");
  // Another Node has another global npm configuration (CA file, registry); keep the one of this machine's npm.
  const globalconfig = execFileSync("npm", ["config", "get", "globalconfig"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  }).trim();
  // Not `npm ci`: it refuses a lock file made where a registry lacks packages for platforms we do not run on.
  npm(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"], {
    ...environment(node),
    npm_config_globalconfig: globalconfig,
  });
  writeFileSync(stamp, lock);
}

function npm(args, env) {
  try {
    execFileSync("npm", args, { cwd: root, env, stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  } catch (error) {
    const detail = String(error.stderr ?? error.message)
      .trim()
      .split("\n")
      .slice(-5)
      .join("\n  ");
    throw new Error(
      `npm ${args[0]} failed:\n  ${detail}\nCheck that the npm registry can be reached (npm ping) and run the command again.`,
      { cause: error },
    );
  }
}
