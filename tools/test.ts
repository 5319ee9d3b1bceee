// `npm test [KIND...]`: the static checks and every kind of test, or only the kinds named.
// Installs what the tests need. The last line is `N passed, N failed, N skipped`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensurePackages, TEST_PACKAGES } from "./debian.ts";
import { ensureNode, environment, root } from "./toolchain.mjs";

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

const KINDS = ["unit", "contract", "integration", "faults", "e2e"] as const;
type Kind = (typeof KINDS)[number];

const asked = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const unknown = asked.filter((word) => ![...KINDS, "check"].includes(word));
if (unknown.length > 0) {
  process.stderr.write(`unknown kind of test: ${unknown.join(", ")}; there are check, ${KINDS.join(", ")}\n`);
  process.exit(2);
}
const wants = (kind: Kind | "check") => asked.length === 0 || asked.includes(kind);

if (asked.length === 0 || ["contract", "integration", "faults", "e2e"].some((kind) => asked.includes(kind))) {
  try {
    ensurePackages(TEST_PACKAGES);
  } catch (error) {
    process.stderr.write(`fireteact: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}

const total: Count = { passed: 0, failed: 0, skipped: 0 };
const broken: string[] = [];

function command(title: string, args: string[], node = process.execPath): boolean {
  process.stdout.write(`\n== ${title}\n`);
  const { status } = spawnSync(node, args, { cwd: root, stdio: "inherit", env: environment(node) });
  return status === 0;
}

function vitest(kind: Kind, title: string, node = process.execPath): void {
  const directory = mkdtempSync(join(tmpdir(), "fireteact-test-"));
  const report = join(directory, "report.json");
  const ok = command(
    title,
    [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--project",
      kind,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
    ],
    node,
  );
  try {
    const result = JSON.parse(readFileSync(report, "utf8")) as {
      numPassedTests: number;
      numFailedTests: number;
      numPendingTests: number;
      numTodoTests: number;
    };
    total.passed += result.numPassedTests;
    total.failed += result.numFailedTests;
    total.skipped += result.numPendingTests + result.numTodoTests;
    if (!ok && result.numFailedTests === 0) broken.push(title);
  } catch {
    broken.push(title);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

if (wants("check")) {
  if (command("static checks", ["tools/check.ts"])) total.passed++;
  else total.failed++;
}
if (wants("integration") || wants("e2e")) {
  if (!command("build", ["tools/build.ts"])) broken.push("build");
}
if (wants("unit")) vitest("unit", "unit tests");
if (wants("contract")) vitest("contract", "contract tests");
if (asked.length === 0) {
  const next = ensureNode(26, true);
  vitest("unit", "unit tests on Node 26", next);
  vitest("contract", "contract tests on Node 26", next);
}
if (wants("integration")) {
  // Where one cannot be had its tests are skipped, and say why.
  command("real engines for the integration tests", ["tools/engines.ts"]);
  vitest("integration", "integration tests");
}
if (wants("faults")) vitest("faults", "fault suite: deaths of the daemon");
if (wants("e2e")) vitest("e2e", "end-to-end tests with real guests");

total.failed += broken.length;
for (const title of broken) process.stdout.write(`${title}: did not run to its end\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed === 0 ? 0 : 1;
