/** How far a monitor's process is cut off from the host. */
export interface Confinement {
  /** Path of the network namespace it runs in. */
  namespace: string;
  /** User and group id of its own. */
  uid: number;
  /** Supplementary groups, for device nodes. */
  groups: readonly number[];
  /** Directories of the control groups it is in. */
  cgroups?: readonly string[];
  /** Largest file it may write, bytes. */
  fileBytes: number;
}

/** Open files a monitor needs are a few dozen. */
export const MAX_FILES = 512;
/** Tasks of its user: virtual CPUs, and threads for disks. */
export const MAX_TASKS = 256;

/** Enters the groups named by its first arguments, up to an empty one. */
const ENTER = 'while [ -n "$1" ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"';

/**
 * The command that enters the namespace, sets limits and gives up every privilege before it becomes the monitor. Each
 * part replaces the one before it, so that one process is left.
 */
export function confine(command: readonly string[], confinement: Confinement): string[] {
  const { namespace, uid, groups, cgroups = [], fileBytes } = confinement;
  return [
    ...(cgroups.length === 0 ? [] : ["/bin/sh", "-c", ENTER, "sh", ...cgroups, ""]),
    "nsenter",
    `--net=${namespace}`,
    "--",
    "prlimit",
    `--nofile=${MAX_FILES}`,
    `--nproc=${MAX_TASKS}`,
    `--fsize=${fileBytes}`,
    "--core=0",
    "--memlock=0",
    "--",
    "setpriv",
    `--reuid=${uid}`,
    `--regid=${uid}`,
    groups.length === 0 ? "--clear-groups" : `--groups=${groups.join(",")}`,
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--",
    ...command,
  ];
}
