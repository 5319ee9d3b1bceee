import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { replaceFileSync } from "../../base/atomic-file.ts";
import { FireteactError, ignore } from "../../base/errors.ts";
import { SEARCH_PATH } from "../../base/exec.ts";
import { identify, type ProcessIdentity } from "../../base/process.ts";

/** What is to be run for a sandbox, and where. */
export interface LaunchRequest {
  /** Working directory; console and exit are written there. */
  directory: string;
  /** Descriptor 3 of the command is the console, 1 and 2 go there too. */
  command: readonly string[];
  /** Most bytes the console takes on disk. */
  consoleBytes: number;
  /** Called with what will run the command, before the command runs, so that it is on record first. */
  onIdentity: (identity: ProcessIdentity) => void;
}

/** A way to run a monitor so that it outlives this process: the shim, or a unit of the system's service manager. */
export interface Launcher {
  launch(request: LaunchRequest): Promise<void>;
}

/**
 * Runs the monitor in a session of its own, without any part of this program: a shell that waits for it, and one that
 * keeps its output. Both are a megabyte each, most of it shared.
 *
 * - It waits for a line on its input before it does anything: when its maker dies before the process is on record, the
 *   input ends and so does it.
 * - Signals are the monitor's to answer; the shim records what comes of them.
 * - The console is kept in two segments of which the older is thrown away, at most one segment a second. The monitor's
 *   end of the pipe never blocks: what does not fit is lost, and the disk does not fill.
 * - The exit status appears as a whole, after the console is complete.
 */
const SHIM = `#!/bin/sh
# Part of Fireteact: runs one virtual machine. $1: size of a console segment in blocks of 512 bytes; the rest: the command.
segment=$1
shift
umask 077
# When memory runs out a guest goes before the orchestrator.
echo 500 >/proc/self/oom_score_adj
read -r _ || exit 125
exec </dev/null
trap : HUP INT TERM

keep_console() {
  trap '' HUP INT TERM XFSZ
  ulimit -f "$segment"
  until cat >console/log; do
    mv console/log console/old
    sleep 1
  done
}

mkdir console && mkfifo console/pipe || exit 125
keep_console <console/pipe &
"$@" >console/pipe 2>&1 3>&1
status=$?
wait
printf '{"status":%d}\\n' "$status" >exit.new && mv exit.new exit.json
`;

const BLOCK = 512;

/** @param directory Where the shim's text is kept; a running shim keeps the text it was started with. */
export function createShimLauncher(directory: string): Launcher {
  const path = join(directory, "shim");
  return {
    launch: async ({ directory: workingDirectory, command, consoleBytes, onIdentity }) => {
      installShim(path);
      const segment = String(Math.max(1, Math.floor(consoleBytes / 2 / BLOCK)));
      const child = spawn("/bin/sh", [path, segment, ...command], {
        cwd: workingDirectory,
        detached: true,
        stdio: ["pipe", "ignore", "ignore"],
        env: { PATH: SEARCH_PATH, LC_ALL: "C.UTF-8" },
      });
      // The shim may be killed before it reads; its exit tells.
      child.stdin.on("error", () => undefined);
      try {
        await new Promise<void>((resolve, reject) => {
          child.once("spawn", resolve);
          child.once("error", reject);
        });
        const identity = child.pid === undefined ? undefined : identify(child.pid);
        if (identity === undefined) throw new FireteactError("SHIM_FAILED", "The shim of a sandbox ended at once");
        onIdentity(identity);
        child.stdin.end("go\n");
      } catch (error) {
        child.stdin.destroy();
        throw error;
      } finally {
        child.unref();
      }
    },
  };
}

/** Replaces the file when it is not this program's; never writes into a text that a shell is reading. */
function installShim(path: string): void {
  if (readText(path) === SHIM) return;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  replaceFileSync(path, SHIM, { mode: 0o700 });
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return ignore("ENOENT")(error);
  }
}
