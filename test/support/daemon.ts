import { afterEach } from "vitest";
import { type Host, openHost } from "./host.ts";

const opened: Host[] = [];
afterEach(async () => {
  for (const host of opened.splice(0).toReversed()) await host[Symbol.asyncDispose]();
});

/** A host that is gone after the test; `over` replaces keys of its configuration. */
export async function createHost(over: Record<string, unknown> = {}): Promise<Host> {
  const host = await openHost({ config: over });
  opened.push(host);
  return host;
}
