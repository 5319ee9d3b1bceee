import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { type Draft, forgeKey, type Report } from "./draft.ts";
import { isSecret, type Path, quote } from "./problems.ts";
import { readSecretFile, reason } from "./secret.ts";

/** Looks at every file that the configuration names and the orchestrator itself reads. */
export function checkFiles(draft: Draft, file: string, report: Report): void {
  const key = forgeKey(draft);
  const forge = draft[key];
  const at = (path: string) => resolve(dirname(file), path);
  const secrets: [Path, string | undefined][] = [
    [[key, "apiTokenFile"], forge?.apiToken === undefined ? forge?.apiTokenFile : undefined],
    [["server", "tokenFile"], draft.server?.tokenFile],
    [["webhook", "secretFile"], draft.webhook?.secretFile],
    ...(draft.pools ?? []).map((pool, index): [Path, string | undefined] => [
      ["pools", index, "forge", "apiTokenFile"],
      pool?.forge?.apiTokenFile,
    ]),
  ];
  for (const [path, value] of secrets) if (value !== undefined) checkSecret(path, value, at(value), report);
  if (forge?.caFile !== undefined) checkCertificates([key, "caFile"], at(forge.caFile), report);
  for (const [index, value] of (draft.guest?.caFiles ?? []).entries()) {
    if (value !== undefined) checkCertificates(["guest", "caFiles", index], at(value), report);
  }
  for (const [name, value] of Object.entries(draft.guest?.engines ?? {})) {
    if (value !== undefined) checkProgram(["guest", "engines", name], at(value), report);
  }
  if (forge?.apiToken !== undefined && isWorldReadable(file)) {
    report.warn(
      [key, "apiToken"],
      "every user of this machine can read the token in this file; use apiTokenFile, or chmod 600",
    );
  }
}

function checkSecret(path: Path, written: string, file: string, report: Report): void {
  const shown = isSecret(path, written) ? "the file named here (not shown, since it has no slash)" : quote(file);
  try {
    if (readSecretFile(file).worldReadable)
      report.warn(path, `every user of this machine can read ${shown}; chmod 600 it`);
  } catch (error) {
    const what = (error as Error).message.slice(file.length + 1);
    report.error(path, `${shown} ${what}`);
  }
}

function checkCertificates(path: Path, file: string, report: Report): void {
  try {
    if (!readFileSync(file, "latin1").includes("-----BEGIN CERTIFICATE-----")) {
      report.error(path, `${quote(file)} holds no PEM certificate (-----BEGIN CERTIFICATE-----)`);
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    report.error(path, `${quote(file)} ${reason(error)}`);
  }
}

function checkProgram(path: Path, file: string, report: Report): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) report.error(path, `${quote(file)} does not exist`);
  else if (!found.isFile() || (found.mode & 0o111) === 0) report.error(path, `${quote(file)} is not a program`);
}

function isWorldReadable(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.mode ?? 0) % 8 >= 4;
}
