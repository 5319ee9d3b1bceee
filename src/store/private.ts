import { chmodSync, closeSync, openSync } from "node:fs";

/** Makes an empty file that nobody else may read, from its first byte on; one that is there loses others' rights. */
export function createPrivate(path: string): void {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
}
