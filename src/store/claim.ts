import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { FireteactError } from "../base/errors.ts";
import { createPrivate } from "./private.ts";

/** A state directory that belongs to this process until `release`, or its end. */
export interface Claim {
  release(): void;
}

/**
 * Keeps a second daemon from working on the same state: two would undo each other's runners. The system drops the claim
 * of a process that died, whatever it died of. Throws ALREADY_RUNNING.
 */
export function claimState(directory: string): Claim {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const path = join(directory, "claim.db");
  // Whoever may read it may lock it.
  createPrivate(path);
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    throw new FireteactError("ALREADY_RUNNING", `another fireteact works on ${directory}`, {
      hint: "stop it first, or give this one a state directory and a server.socket of its own",
    });
  }
  return { release: () => database.close() };
}

const SQLITE_BUSY = 5;
const isBusy = (error: unknown): boolean =>
  error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
