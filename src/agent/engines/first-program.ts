import { readdirSync, readFileSync } from "node:fs";
import type { Clock, Timer } from "../../base/clock.ts";
import { ignore } from "../../base/errors.ts";

/** Between two looks, milliseconds; they go on only from a job's arrival to its first step. */
const EVERY = 20;

/** Tells when a process starts its first program. */
export interface ProgramWatch {
  /** From now on: calls back once, as soon as a program was started since the watch was made, maybe never. */
  begin(started: () => void): void;
  end(): void;
}

/**
 * For engines whose log does not tell when a job's first step begins: in host mode each step is a program that the
 * engine starts. One that came and went between two looks is known by what it left in the engine's own figures.
 */
export function watchPrograms(pid: number, clock: Clock): ProgramWatch {
  const before = faultsOfEndedChildren(pid);
  let timer: Timer | undefined;
  let ended = false;

  function look(started: () => void): void {
    if (ended) return;
    if (hasChild(pid) || faultsOfEndedChildren(pid) > before) started();
    else timer = clock.after(EVERY, () => look(started));
  }

  return {
    begin: look,
    end() {
      ended = true;
      timer?.cancel();
    },
  };
}

/** Page faults of children that ended and were waited for: every program has some. */
function faultsOfEndedChildren(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // The name in brackets may hold spaces; the fields after it are numbered from 3, this one is the 11th.
  const [, , , , , , , , faults = "0"] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(faults);
}

/** Children belong to the thread that started them. */
function hasChild(pid: number): boolean {
  const folder = `/proc/${pid}/task`;
  return threads(folder).some((thread) => read(`${folder}/${thread}/children`) !== "");
}

function threads(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    ignore("ENOENT", "ESRCH")(error);
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    ignore("ENOENT", "ESRCH")(error);
    return "";
  }
}
