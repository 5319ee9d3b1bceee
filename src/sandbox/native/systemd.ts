import { describe, FireteactError } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";
import { ALL_UNITS, partsOf } from "./names.ts";

/** A unit of a native pool as the service manager shows it. */
export interface UnitView {
  pool: string;
  hex: string;
  /** It runs, or is about to, or is being ended: something of it is there. */
  isActive: boolean;
  /** Uptime at which its program was started, milliseconds. */
  startedAt?: number;
}

/** What is asked of the service manager. Everything it answers is bounded. */
export interface ServiceManager {
  /** Resolves when the unit's program was started. */
  start(unit: string, signal: AbortSignal): Promise<void>;
  /** Resolves when nothing of the unit runs any more, also when nothing did. */
  stop(unit: string, signal: AbortSignal): Promise<void>;
  /** The units that match, of all native pools by default. */
  units(pattern?: string): Promise<UnitView[]>;
  /** The last part of what a unit wrote to the journal, its agent's own log. */
  journal(pattern: string, bytes: number): Promise<string>;
}

const START_TIMEOUT = 120_000;
/** More than `TimeoutStopSec`. */
const STOP_TIMEOUT = 120_000;
const PROPERTIES = "Id,ActiveState,ExecMainStartTimestampMonotonic";
/** Some 200 bytes for each of ten thousand units. */
const MOST_ANSWER = 4 * 1024 * 1024;
const NOT_LOADED = 5;

export function createServiceManager(run: typeof exec = exec): ServiceManager {
  const systemctl = async (verb: string, args: string[], options: Parameters<typeof exec>[2]): Promise<string> => {
    try {
      return (await run("systemctl", [verb, "--no-ask-password", "--no-pager", ...args], options)).stdout;
    } catch (error) {
      throw refused(error, verb) ?? error;
    }
  };
  return {
    start: async (unit, signal) => void (await systemctl("start", [unit], { signal, timeout: START_TIMEOUT })),
    stop: async (unit, signal) =>
      void (await systemctl("stop", [unit], { signal, timeout: STOP_TIMEOUT, accept: [0, NOT_LOADED] })),
    units: async (pattern = ALL_UNITS) =>
      parseUnits(await systemctl("show", [`--property=${PROPERTIES}`, pattern], { maxOutput: MOST_ANSWER })),
    journal: async (pattern, bytes) => {
      const args = ["--unit", pattern, "--output=cat", "--no-pager", "--quiet", "--lines=500"];
      const { stdout } = await run("journalctl", args, { maxOutput: MOST_ANSWER });
      return stdout.slice(-bytes);
    },
  };
}

/** `KEY=VALUE` lines, a block a unit. Units that are not of native pools are left out. */
export function parseUnits(text: string): UnitView[] {
  return text.split(/\n\n+/).flatMap((block) => {
    const values = new Map(block.split("\n").map((line) => split(line)));
    const parts = partsOf(values.get("Id") ?? "");
    if (parts === undefined) return [];
    const state = values.get("ActiveState") ?? "";
    const started = Number(values.get("ExecMainStartTimestampMonotonic"));
    const isActive = state !== "inactive" && state !== "failed";
    return [{ ...parts, isActive, ...(started > 0 ? { startedAt: Math.floor(started / 1_000) } : {}) }];
  });
}

function split(line: string): [string, string] {
  const at = line.indexOf("=");
  return [line.slice(0, Math.max(at, 0)), line.slice(at + 1)];
}

/** Makes systemd read what was installed, and makes the directories that units and orchestrator share. */
export async function loadUnits(): Promise<void> {
  await exec("systemctl", ["daemon-reload"]);
  await exec("systemd-tmpfiles", ["--create", "/etc/tmpfiles.d/fireteact-native.conf"]);
}

function refused(cause: unknown, verb: string): FireteactError | undefined {
  if (!/authentication required|access denied|not authorized/i.test(describe(cause))) return undefined;
  return new FireteactError("NATIVE_DENIED", `this user may not ${verb} the units of native pools`, {
    cause,
    hint: "run as root: fireteact native install-units --user NAME, with the name of this user",
  });
}
