import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Clock, Timer } from "../../base/clock.ts";
import { SEARCH_PATH } from "../../base/exec.ts";
import { NFT_TABLE } from "../../base/names.ts";

/** How long a burst of removals is waited for, so that it is one call. */
const SETTLE = 50;
/** When a monitor that ended is started again. */
const AGAIN = 30_000;

/** Removed elements are not told: those of our dynamic sets go all the time. */
const OURS = new RegExp(`^delete (table|chain|rule) (bridge|inet) ${NFT_TABLE}\\b`);

/**
 * Calls back soon after somebody removed a part of our tables on this host, us included. A convenience only: where it
 * does not run, the regular look finds the same later. Returns what stops it.
 */
export function watchRemovals(clock: Clock, onRemoval: () => void): () => void {
  let stopped = false;
  let stop = (): void => undefined;
  let due: Timer | undefined;
  let again: Timer | undefined;

  const start = (): void => {
    // It ends with us, however we end.
    const command = ["--pdeathsig", "KILL", "--", "nft", "monitor", "destroy"];
    const child = spawn("setpriv", command, {
      stdio: ["ignore", "pipe", "ignore"],
      env: { PATH: SEARCH_PATH, LC_ALL: "C.UTF-8" },
    });
    child.unref();
    stop = () => void child.kill("SIGKILL");
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (stopped || due !== undefined || !OURS.test(line)) return;
      due = clock.after(SETTLE, () => {
        due = undefined;
        onRemoval();
      });
    });
    // Without the program there is no monitor either; `close` follows in both cases.
    child.on("error", () => undefined);
    child.once("close", () => {
      if (!stopped) again = clock.after(AGAIN, start);
    });
  };
  start();
  return () => {
    stopped = true;
    due?.cancel();
    again?.cancel();
    stop();
  };
}
