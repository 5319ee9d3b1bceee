// `npm run demo`: installs what is missing, builds, and runs `fireteact demo` with the same arguments.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { DEMO_PACKAGES, ensurePackages } from "./debian.ts";
import { environment, root } from "./toolchain.mjs";

const asksOnly = process.argv.slice(2).some((word) => word === "--help" || word === "-h");
try {
  if (!asksOnly) ensureRoot();
  ensurePackages(asksOnly ? [] : DEMO_PACKAGES);
} catch (error) {
  process.stderr.write(`fireteact: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
const run = (command: string, args: string[]) =>
  spawnSync(command, args, { cwd: root, stdio: "inherit", env: environment(process.execPath) }).status ?? 1;

process.exitCode =
  run(process.execPath, ["tools/build.ts"]) || run(join(root, "bin", "fireteact"), ["demo", ...process.argv.slice(2)]);

/** Before anything is installed or built, so that nobody waits for a refusal. */
function ensureRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new Error(
    "the demo makes networks and microVMs, which only root may, and you are not root\n  > run it with: sudo npm run demo",
  );
}
