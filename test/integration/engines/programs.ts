import { delimiter } from "node:path";
import { type EngineName, installedEngine, missingReason } from "../../../tools/engines.ts";

/** A real engine to try. */
export interface Program {
  engine: EngineName;
  path: string;
}

const VARIABLES: Record<EngineName, string> = {
  "gitea-runner": "FIRETEACT_GITEA_RUNNER",
  "forgejo-runner": "FIRETEACT_FORGEJO_RUNNER",
};

/**
 * The programs to try for an engine: those named in FIRETEACT_GITEA_RUNNER or FIRETEACT_FORGEJO_RUNNER (several paths
 * with colons between them, for several versions), else the one that tools/engines.ts installed.
 */
export function programs(engine: EngineName): { found: Program[]; reason: string } {
  const named = (process.env[VARIABLES[engine]] ?? "").split(delimiter).filter((path) => path !== "");
  const installed = installedEngine(engine);
  const paths = named.length > 0 || installed === undefined ? named : [installed];
  const reason = `${missingReason(engine)}; name a program in ${VARIABLES[engine]} to try it`;
  return { found: paths.map((path) => ({ engine, path })), reason };
}
