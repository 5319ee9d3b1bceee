import type { CgroupSettings } from "../microvm/cgroups.ts";
import { MAX_FILES, MAX_TASKS } from "../microvm/confine.ts";

/** Signals are the monitor's to answer. */
const HOLD = 'trap : HUP INT TERM; "$@"; exit $?';

/** What one jailer is told. Paths are absolute. */
export interface JailRequest {
  hex: string;
  jailer: string;
  binary: string;
  /** User and group. */
  uid: number;
  base: string;
  namespace: string;
  /** Absent where the host has no limits to set. */
  cgroups?: CgroupSettings;
  fileBytes: number;
}

/**
 * The command that becomes the jailed monitor, up to the monitor's own arguments.
 *
 * The new process namespace is made by `unshare`, not by the jailer's `--new-pid-ns`: with that the jailer ends at once
 * and leaves the monitor to nobody, and how it ended could not be known. The shell's only child is the first process of
 * the namespace: the jailer, which becomes the monitor. The shell waits and ends with its status; `unshare --fork` would do
 * the same, but some of its versions end with 1 when the monitor is killed.
 */
export function jailCommand(request: JailRequest): string[] {
  const { cgroups } = request;
  return [
    // The memory of a guest holds secrets of its job; it is in no core file.
    ["prlimit", "--core=0", `--nproc=${MAX_TASKS}`, "--"],
    ["setpriv", "--no-new-privs", "--"],
    ["unshare", "--pid", "--", "/bin/sh", "-c", HOLD, "sh"],
    [request.jailer, "--id", request.hex, "--exec-file", request.binary],
    ["--uid", String(request.uid), "--gid", String(request.uid)],
    ["--chroot-base-dir", request.base, "--netns", request.namespace],
    ["--resource-limit", `fsize=${request.fileBytes}`, "--resource-limit", `no-file=${MAX_FILES}`],
    cgroups === undefined ? [] : ["--cgroup-version", String(cgroups.version), "--parent-cgroup", cgroups.parent],
    (cgroups?.values ?? []).flatMap(([file, value]) => ["--cgroup", `${file}=${value}`]),
    ["--"],
  ].flat();
}
