// `npm run build`: dist/main.cjs (the program), dist/agent.cjs (what runs inside a sandbox) and dist/shim.cjs.
// CommonJS since a single-executable build can hold nothing else with a code cache; names are kept for stack traces.
import { existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { root } from "./toolchain.mjs";

const PROGRAMS = {
  main: "src/main.ts",
  agent: "src/agent/main.ts",
  shim: "src/sandbox/shim/main.ts",
  "shell-engine": "src/agent/engines/shell/main.ts",
};

const shared: BuildOptions = {
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

rmSync(join(root, "dist"), { recursive: true, force: true });
for (const [name, entry] of Object.entries(PROGRAMS)) {
  if (!existsSync(join(root, entry))) continue;
  const outfile = join(root, "dist", `${name}.cjs`);
  await build({ ...shared, entryPoints: [entry], outfile });
  process.stdout.write(`dist/${name}.cjs ${(statSync(outfile).size / 1024).toFixed(0)} KB\n`);
}
