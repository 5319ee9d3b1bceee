import { existsSync } from "node:fs";
import { FireteactError } from "../base/errors.ts";
import type { Places } from "../base/names.ts";
import { loadConfig } from "../config/load.ts";
import { ConfigError, type Problem, renderProblem } from "../config/problems.ts";
import type { Settings } from "../core/settings.ts";
import { checkCni } from "./doctor/cni.ts";
import { bad, type Finding, good, warning } from "./doctor/finding.ts";
import { checkFirecracker } from "./doctor/firecracker.ts";
import { checkForge } from "./doctor/forge.ts";
import { checkCapacity, checkDaemon, checkDirectories, checkUser } from "./doctor/host.ts";
import { checkMachine, checkPools } from "./doctor/machine.ts";
import { checkWebhook } from "./doctor/webhook.ts";

export type { Finding } from "./doctor/finding.ts";

/**
 * Looks at everything that `serve` needs, and changes nothing but its note on whether KVM works. A configuration that
 * cannot be read is a finding; the host is then looked at for pools with the driver qemu.
 */
export async function examine(
  configFile: string,
  places: Places,
  progress: (line: string) => void,
): Promise<Finding[]> {
  const { settings, findings } = readConfiguration(configFile);
  findings.push(checkUser(settings), ...checkDirectories(places));
  if (settings !== undefined) findings.push(checkCapacity(settings, places), ...checkPools(settings));
  findings.push(...(await checkMachine(places, settings, progress)), ...(await checkFirecracker(places, settings)));
  findings.push(...(await checkCni(places, settings)));
  if (settings !== undefined) {
    const forges = [];
    for (const target of settings.targets) {
      progress(`asking ${target.url}...`);
      forges.push(await checkForge(target, settings));
    }
    findings.push(...forges.flatMap((forge) => forge.findings));
    findings.push(
      checkWebhook(
        settings,
        forges.flatMap(({ capabilities }) => capabilities ?? []),
      ),
    );
  }
  findings.push(...(await checkDaemon(places, settings)));
  return findings;
}

function readConfiguration(file: string): { settings?: Settings; findings: Finding[] } {
  const subject = "configuration";
  if (!existsSync(file)) {
    const hint = "name yours with --config FILE, or try fireteact without one: fireteact demo";
    return { findings: [bad(subject, `${file} does not exist`, hint)] };
  }
  const hint = `correct it and check it with: fireteact config check ${file}`;
  const say = (problem: Problem) => renderProblem(problem);
  try {
    const { settings, warnings } = loadConfig(file, process.env);
    const names = settings.pools.map(({ name }) => name).join(", ");
    return {
      settings,
      findings: [
        good(subject, `${file}, with pools ${names}`),
        ...warnings.map((problem) => warning(subject, say(problem), hint)),
      ],
    };
  } catch (error) {
    if (error instanceof ConfigError) {
      return {
        findings: [
          ...error.problems.map((problem) => bad(subject, say(problem), hint)),
          ...error.warnings.map((problem) => warning(subject, say(problem), hint)),
        ],
      };
    }
    if (error instanceof FireteactError) return { findings: [bad(subject, error.message, error.hint ?? hint)] };
    throw error;
  }
}
