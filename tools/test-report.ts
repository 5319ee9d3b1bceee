// What vitest's JSON report says: how many tests, and which failed, by what.
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";

export interface Outcome {
  passed: number;
  /** A file that could not be run at all counts as one. */
  failed: number;
  skipped: number;
  /** One text for each test or file that failed: its name and the first lines of why. */
  failures: string[];
}

interface Report {
  numPassedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] | null }[];
  }[];
}

/** Lines shown of each failure; the whole is further up, where it happened. */
const LINES = 12;

/** @throws When there is no report, as when vitest died. */
export function readReport(file: string, root: string): Outcome {
  const report = JSON.parse(readFileSync(file, "utf8")) as Report;
  const failures = report.testResults.flatMap((suite) => {
    const path = relative(root, suite.name);
    const failed = suite.assertionResults.filter((test) => test.status === "failed");
    if (failed.length === 0 && suite.status === "failed") return [`${path}\n${indent(suite.message)}`];
    return failed.map((test) => `${path} > ${test.fullName}\n${indent((test.failureMessages ?? []).join("\n"))}`);
  });
  return {
    passed: report.numPassedTests,
    failed: failures.length,
    skipped: report.numPendingTests + report.numTodoTests,
    failures,
  };
}

function indent(message: string): string {
  const lines = stripVTControlCharacters(message).trim().split("\n").slice(0, LINES);
  return lines.map((line) => `    ${line}`.trimEnd()).join("\n");
}
