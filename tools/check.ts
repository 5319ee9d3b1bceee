// `npm run check`: every static check, in parallel, with one line per check. `npm run fix` repairs what can be repaired.
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { root } from "./toolchain.mjs";

const MAX_LINES = 400;
const fix = process.argv.includes("--fix");

interface Result {
  name: string;
  ok: boolean;
  output: string;
  seconds: number;
}

async function run(name: string, command: string, args: string[]): Promise<Result> {
  const started = performance.now();
  const child = spawn(join(root, "node_modules", ".bin", command), args, { cwd: root });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { name, ok: code === 0, output, seconds: (performance.now() - started) / 1000 };
}

function* sources(directory: string): Generator<string> {
  for (const entry of readdirSync(directory)) {
    const path = join(directory, entry);
    if (statSync(path).isDirectory()) yield* sources(path);
    else if (/\.(ts|mjs|sh|css)$/.test(entry)) yield path;
  }
}

/** Files under 400 lines: the cap is cheap to hold from the first day and impossible to add later. */
function fileLengths(): Result {
  const started = performance.now();
  const long = ["src", "tools", "test", "bench"]
    .flatMap((folder) => [...sources(join(root, folder))])
    .map((path) => ({ path, lines: readFileSync(path, "utf8").split("\n").length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(
      ({ path, lines }) =>
        `${relative(root, path)}: ${lines} lines, at most ${MAX_LINES} are allowed; split it by concern`,
    );
  return {
    name: "file length",
    ok: long.length === 0,
    output: long.join("\n"),
    seconds: (performance.now() - started) / 1000,
  };
}

const results = await Promise.all([
  run("types", "tsc", ["--noEmit"]),
  run("lint", "oxlint", [
    "--type-aware",
    "--deny-warnings",
    ...(fix ? ["--fix"] : []),
    "src",
    "tools",
    "test",
    "bench",
  ]),
  run("format", "biome", ["check", ...(fix ? ["--write"] : []), "."]),
  run("dead code", "knip", ["--no-progress"]),
  Promise.resolve(fileLengths()),
]);
for (const { name, ok, output, seconds } of results) {
  process.stdout.write(`${ok ? "ok  " : "FAIL"} ${name.padEnd(12)} ${seconds.toFixed(1)} s\n`);
  if (!ok) process.stdout.write(`${output.trimEnd().replaceAll(/^/gm, "  ")}\n`);
}
const failed = results.filter((result) => !result.ok).length;
process.exitCode = failed === 0 ? 0 : 1;
