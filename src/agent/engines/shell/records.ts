import { writeSync } from "node:fs";
import { ignore } from "../../../base/errors.ts";
import type { AgentEvent } from "../../../channel/messages.ts";

/** The agent reads JSON lines here. */
const RECORDS = 3;

/** Tells the agent something; without an agent (it may have been killed) nobody needs to know. */
export function tellAgent(event: AgentEvent): void {
  const line = Buffer.from(`${JSON.stringify(event)}\n`);
  try {
    for (let at = 0; at < line.length; ) at += writeSync(RECORDS, line, at);
  } catch (error) {
    ignore("EPIPE", "EBADF")(error);
  }
}
