import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What goes wrong with a request: an error in answer, the end of the process, or no answer at all. */
export interface Trouble {
  fault?: string;
  exit?: number;
  hang?: true;
}

/** How a test has the stand-in behave; read anew at each request. */
export interface Orders {
  version?: string;
  /** By request: `PUT /vsock`, `InstanceStart`. */
  trouble?: Record<string, Trouble>;
  /** Ends before its socket is there. */
  exitAtStart?: number;
}

/** A request that a stand-in was sent. */
export interface Entry {
  id: string;
  method: string;
  path: string;
  body?: unknown;
  status: number;
  fault?: string;
}

export function readOrders(directory: string): Orders {
  return JSON.parse(readFileSync(join(directory, "orders.json"), "utf8")) as Orders;
}

export function note(directory: string, entry: Entry): void {
  appendFileSync(join(directory, "journal"), `${JSON.stringify(entry)}\n`);
}
