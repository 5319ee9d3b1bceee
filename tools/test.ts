// `npm test [KIND...]`: the static checks and every kind of test, or only the kinds named.
// Installs what the tests need. What failed is named once more at the end, and the last line is
// `N passed, N failed, N skipped`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensurePackages, TEST_PACKAGES } from "./debian.ts";
import { type Outcome, readReport } from "./test-report.ts";
import { ensureNode, environment, root } from "./toolchain.mjs";

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

const total: Outcome = { passed: 0, failed: 0, skipped: 0, failures: [] };
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
    const result = readReport(report, root);
    total.passed += result.passed;
    total.failed += result.failed;
    total.skipped += result.skipped;
    total.failures.push(...result.failures.map((failure) => `${title}: ${failure}`));
    if (!ok && result.failed === 0) broken.push(title);
  } catch {
    broken.push(title);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

if (wants("check")) {
  if (command("static checks", ["tools/check.ts"])) total.passed++;
  else broken.push("static checks");
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
for (const failure of total.failures) process.stdout.write(`\nfailed in ${failure}\n`);
for (const title of broken) process.stdout.write(`\n${title}: failed, or did not run to its end\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed === 0 ? 0 : 1;
