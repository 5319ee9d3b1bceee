// `npm run build`: dist/main.cjs (the program), dist/agent.cjs and dist/shell-engine.cjs (what runs inside a sandbox); with
// an argument into that directory instead.
// CommonJS since a single-executable build can hold nothing else with a code cache; names are kept for stack traces.
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { root } from "./toolchain.mjs";

const PROGRAMS = {
  main: "src/main.ts",
  agent: "src/agent/main.ts",
  "shell-engine": "src/agent/engines/shell/main.ts",
};

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

const shared: BuildOptions = {
  define: {
    FIRETEACT_BUILD: JSON.stringify({ version, commit: commit(), built: new Date().toISOString().slice(0, 10) }),
  },
  bundle: true,
  platform: "node",
  target: "node24",
  format: "cjs",
  minifyWhitespace: true,
  minifySyntax: true,
  keepNames: true,
  legalComments: "none",
  logLevel: "warning",
  absWorkingDir: root,
};

const directory = process.argv[2] ?? join(root, "dist");
rmSync(directory, { recursive: true, force: true });
for (const [name, entry] of Object.entries(PROGRAMS)) {
  const outfile = join(directory, `${name}.cjs`);
  await build({ ...shared, entryPoints: [entry], outfile });
  process.stdout.write(`${outfile} ${(statSync(outfile).size / 1024).toFixed(0)} KB\n`);
}

/** Without git, as in a release archive, the commit is not known. */
function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "unknown";
  }
}
