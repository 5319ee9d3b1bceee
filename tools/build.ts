// `npm run build`: dist/main.cjs (the program), dist/agent.cjs and dist/shell-engine.cjs (what runs inside a sandbox); with
// an argument into that directory instead.
// CommonJS since a single-executable build can hold nothing else with a code cache. Names stay as they are, for stack
// traces; esbuild's `keepNames` would cost every closure a property of its own, 256 bytes.
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
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
  legalComments: "none",
  logLevel: "warning",
  absWorkingDir: root,
};

const directory = process.argv[2] ?? join(root, "dist");
rmSync(directory, { recursive: true, force: true });
for (const [name, entry] of Object.entries(PROGRAMS)) {
  const outfile = join(directory, `${name}.cjs`);
  await build({ ...shared, entryPoints: [entry], outfile });
  writeFileSync(outfile, inAscii(readFileSync(outfile, "utf8")));
  process.stdout.write(`${outfile} ${(statSync(outfile).size / 1024).toFixed(0)} KB\n`);
}

/** One letter beyond Latin-1 in a regular expression, and the engine keeps the whole source at two bytes a letter. */
function inAscii(source: string): string {
  return source.replaceAll(/[^\0-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
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
