import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFileSync } from "../../base/atomic-file.ts";
import { ignore } from "../../base/errors.ts";
import { CHANNELS, CREDENTIALS, EXITS } from "./names.ts";

const HEX = /^[0-9a-f]{24}$/;
const REMOVED = ".removed";

/** The files that orchestrator and units hand each other. */
export interface SharedFiles {
  credentials: string;
  /** Puts a unit's credential where the service manager reads it. */
  give(hex: string, content: string): void;
  takeBack(hex: string): void;
  account(hex: string): string;
  socket(hex: string): string;
  /** Accounts are root's and stay for a day: says that one has been dealt with. */
  forget(hex: string): void;
  /** Sandboxes with a credential that no unit has taken, and those that ended and were not dealt with. */
  untaken(): string[];
  ended(): string[];
}

export function sharedFiles(root: string): SharedFiles {
  const at = (directory: string, ...rest: string[]) => join(root, directory, ...rest);
  return {
    credentials: at(CREDENTIALS),
    give: (hex, content) => replaceFileSync(at(CREDENTIALS, hex), content),
    takeBack: (hex) => rmSync(at(CREDENTIALS, hex), { force: true }),
    account: (hex) => at(EXITS, hex),
    socket: (hex) => at(CHANNELS, hex, "agent.sock"),
    forget: (hex) => {
      if (namesIn(at(EXITS)).includes(hex)) writeFileSync(at(CREDENTIALS, hex + REMOVED), "");
    },
    untaken: () => namesIn(at(CREDENTIALS)).filter((name) => HEX.test(name)),
    ended: () => {
      const known = new Set(namesIn(at(CREDENTIALS)));
      return namesIn(at(EXITS)).filter((name) => HEX.test(name) && !known.has(name + REMOVED));
    },
  };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT", "EACCES")(error) ?? [];
  }
}
