import { FireteactError } from "../../base/errors.ts";
import type { Distrust } from "../../base/trust.ts";
import { type Assignment, isLegacy } from "../assignment.ts";

/** A job that must not run here, as its log says it. */
export function untrusted({ code, detail }: Distrust): FireteactError {
  return new FireteactError("UNTRUSTED_JOB", `This runner does not run this job (${code}): ${detail}.`, {
    hint: "Its pool runs jobs on the host itself, and so only those of repositories, events and branches that its operator named.",
  });
}

/**
 * Refuses an engine that would run whatever job it is given: forgejo-runner has nothing that looks at one before its first
 * step, so that it has to be bound to the job that the host looked at.
 */
export function checkKeepsTrust({ engine, credentials }: Assignment): void {
  if (engine !== "forgejo-runner") return;
  if (!isLegacy(credentials) && credentials.handle !== undefined) return;
  throw new FireteactError("NOT_BOUND", "forgejo-runner is not bound to a job, and would run one that is not trusted", {
    hint: "native pools with forgejo-runner need Forgejo 15 or newer",
  });
}
