import { readFileSync, statSync } from "node:fs";
import { ignore } from "../../base/errors.ts";
import type { SandboxExit, SandboxUsage } from "../../core/types.ts";

/** What the unit's last command wrote down, as root, when everything else of it had ended. */
interface Account {
  exit: SandboxExit;
  usage: SandboxUsage;
}

const MOST_BYTES = 1_024;

/** The account in the file; undefined while there is none, or where it is not whole. */
export function readAccount(path: string): Account | undefined {
  try {
    if (statSync(path).size > MOST_BYTES) return undefined;
    return parseAccount(readFileSync(path, "utf8"), Math.round(statSync(path).mtimeMs));
  } catch (error) {
    return ignore("ENOENT", "ENOTDIR")(error);
  }
}

/** `<result> <exited|killed|dumped> <status or signal> <bytes> <microseconds>` and a line break. */
export function parseAccount(text: string, at: number): Account | undefined {
  const [, result = "", how = "", status = "", peak, used] =
    /^([a-z-]{1,40}) (exited|killed|dumped|none) ([A-Z0-9+-]{1,20}|none) (\d{1,20}) (\d{1,20})\n$/.exec(text) ?? [];
  if (result === "") return undefined;
  const reason = REASONS[result] ?? (ORDINARY.has(result) ? undefined : `systemd says: ${result}`);
  const ended = how === "exited" ? { code: Number(status), signal: null } : { code: null, signal: signalOf(status) };
  const usage: SandboxUsage = { cpuMs: Math.round(Number(used) / 1_000) };
  // Kernels before 5.19 do not say it.
  if (Number(peak) > 0) usage.memoryPeakBytes = Number(peak);
  return { exit: { ...ended, ...(reason === undefined ? {} : { reason }), at }, usage };
}

const signalOf = (status: string): string | null => (status === "none" ? null : `SIG${status}`);

/** Exit code and signal say it all. */
const ORDINARY = new Set(["success", "exit-code", "signal", "core-dump"]);

const REASONS: Record<string, string> = {
  "oom-kill": "its job needed more memory than memoryMib allows",
  timeout: "it ran longer than its unit may",
  resources: "the host could not start its unit: see the journal",
};

/** A unit that left no account: its last command could not run. */
export const unaccounted = (at: number): SandboxExit => ({
  code: null,
  signal: null,
  reason: "its unit is gone and left no account",
  at,
});
