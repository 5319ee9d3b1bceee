import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { FireteactError } from "../base/errors.ts";
import type { Settings } from "../core/settings.ts";
import { guestEnvironment } from "../image/build/settings.ts";
import { compareUnits, type Difference, type UnitFile, unitFiles } from "../sandbox/native/install.ts";
import type { NativePool, NativePrograms } from "../sandbox/native/unit.ts";
import { imageSources } from "./programs.ts";

/** What has to be installed on the host for the native pools of the settings; none of them, no file. */
export function nativeUnitFiles(settings: Settings, user: string): UnitFile[] {
  const pools = nativePools(settings);
  if (pools.length === 0) return [];
  const environment = ({ nix }: NativePool) =>
    guestEnvironment({ ...(nix ? { NIX_REMOTE: "daemon" } : {}), ...settings.guest.env }, false);
  return unitFiles({ pools, programs: nativePrograms(settings), environment, user });
}

function nativePools({ pools }: Settings): NativePool[] {
  return pools.flatMap(({ name, native, limits }) =>
    native === undefined ? [] : [{ ...native, name, lifetime: Math.max(limits.lifetime, limits.job + limits.boot) }],
  );
}

function nativePrograms({ guest }: Settings): NativePrograms {
  const { node, agent } = imageSources();
  if (!existsSync(agent)) {
    throw new FireteactError("AGENT_MISSING", `the agent's program ${agent} is missing, which native jobs start with`, {
      hint: "build it: npm run build, and run the program that was built",
    });
  }
  return { node, agent, engines: guest.engines };
}

/** How what is installed differs from what the settings need, for an orchestrator that runs as this user. */
export function nativeDifferences(settings: Settings): Difference[] {
  const { username } = userInfo();
  // What root needs of the shared directories, it has, whoever else they were made for.
  const files = nativeUnitFiles(settings, username).filter(({ isUnit }) => isUnit || process.getuid?.() !== 0);
  return compareUnits(files);
}

/** @throws FireteactError `UNITS_DIFFER` with the differences, unless everything is installed */
export function checkUnits(differences: Difference[], configFile: string): void {
  const wrong = differences.filter(({ state }) => state !== "stale");
  if (wrong.length === 0) return;
  const list = wrong.flatMap(({ path, state, lines }) => [
    `${path} ${state === "missing" ? "is missing" : state}`,
    ...lines,
  ]);
  throw new FireteactError(
    "UNITS_DIFFER",
    `the units of native pools are not what the configuration asks for:\n${list.join("\n")}`,
    {
      hint: `run as root: fireteact native install-units --config ${configFile}`,
    },
  );
}
