import { readFileSync } from "node:fs";
import { describe, FireteactError } from "../base/errors.ts";
import { contextOrigin, distrust, readPolicy } from "../base/trust.ts";
import { untrusted } from "./engines/trust.ts";

/**
 * `fireteact runner job-started POLICY`: the hook that gitea-runner calls before a job's first step. What it writes is in
 * the job's log, and every code but 0 fails the job.
 */
export function lookAtJob(policyFile: string, environment: NodeJS.ProcessEnv): number {
  try {
    const { GITHUB_REPOSITORY: repository, GITHUB_EVENT_NAME: name, GITHUB_REF: ref } = environment;
    const event: unknown = JSON.parse(readFileSync(environment["GITHUB_EVENT_PATH"] ?? "", "utf8"));
    const refusal = distrust(
      readPolicy(JSON.parse(readFileSync(policyFile, "utf8"))),
      contextOrigin({ repository, event_name: name, ref, event }),
    );
    if (refusal === undefined) return 0;
    throw untrusted(refusal);
  } catch (error) {
    const hint = error instanceof FireteactError && error.hint !== undefined ? `\n${error.hint}` : "";
    process.stdout.write(`::error::${describe(error)}${hint}\n`);
    return 1;
  }
}
