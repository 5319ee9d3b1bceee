import type { DriverName } from "../core/types.ts";
import type { SandboxDriver } from "../sandbox/port.ts";
import type { LogBook } from "./logs.ts";
import type { Records } from "./records.ts";

export interface LogSources {
  records: Records;
  logs: LogBook;
  drivers: Map<DriverName, SandboxDriver>;
}

/** What engine and console of a runner said last, present or gone; undefined where nothing is known of it. */
export async function readLogs(
  { records, logs, drivers }: LogSources,
  id: string,
  bytes: number,
): Promise<{ engine: string; console: string } | undefined> {
  const hex = /[0-9a-f]{24}$/.exec(id)?.[0];
  if (hex === undefined) return undefined;
  const runner = records.get(id);
  const engine = logs.tail(hex, bytes);
  if (runner === undefined) return engine === "" ? undefined : { engine, console: "" };
  const driver = drivers.get(runner.driver);
  const text = await driver?.console(hex, bytes).catch(() => "");
  return { engine, console: text ?? "" };
}
