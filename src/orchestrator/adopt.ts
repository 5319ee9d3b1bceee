import { describe } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Runner } from "../core/types.ts";
import type { MetadataDocument, SandboxDriver, SandboxInfo } from "../sandbox/port.ts";
import type { Attendance } from "./attendance.ts";
import type { Stray } from "./rebuild.ts";
import type { Records } from "./records.ts";

interface AdoptDeps {
  records: Records;
  attendance: Attendance;
  log: Logger;
}

/**
 * Compares the records of a driver's runners with the sandboxes that the host really has, once at start: what lives is
 * watched again, what ended meanwhile is recorded as ended. Returns the sandboxes that no record knows.
 */
export async function adopt(driver: SandboxDriver, deps: AdoptDeps): Promise<Stray[]> {
  const found = new Map((await driver.list()).map((info) => [info.hex, info]));
  for (const runner of deps.records.all()) {
    if (runner.driver === driver.name) adoptOne(runner, found.get(runner.hex), deps);
  }
  const strange = [...found.values()].filter(({ hex }) => deps.records.byHex(hex) === undefined);
  return strange.map((info) => ({ ...info, driver: driver.name }));
}

function adoptOne(runner: Runner, info: SandboxInfo | undefined, { records, attendance, log }: AdoptDeps): void {
  const { phase } = runner.sandbox;
  if (phase !== "starting" && phase !== "running") return;
  if (info?.state === "running") {
    if (phase === "starting") {
      records.apply(runner.id, { kind: "booted", ...(info.address === undefined ? {} : { address: info.address }) });
    }
    records.apply(runner.id, { kind: "adopted" });
    attendance.attend(runner.id);
    log.info({ runner: runner.id, agent: runner.agent.phase }, "adopted a running sandbox");
    return;
  }
  if (phase === "starting") {
    records.apply(runner.id, {
      kind: "ending",
      reason: "boot-failed",
      detail: "the orchestrator ended while the sandbox was being made",
    });
    if (info === undefined) records.apply(runner.id, { kind: "sandbox-gone" });
    return;
  }
  const vanished = {
    code: null,
    signal: null,
    reason: "the sandbox was gone when the orchestrator started",
    at: Date.now(),
  };
  records.apply(runner.id, { kind: "sandbox-exited", exit: { ...(info?.exit ?? vanished), unwatched: true } });
}

/**
 * Sandboxes of this host that no record knows. Those of a driver that cannot be listed, which the log says, are those that
 * were known `before`: they still take their place. Complete when all drivers could be.
 */
export async function findStrays(
  drivers: SandboxDriver[],
  before: () => Stray[],
  { records, log }: Pick<AdoptDeps, "records" | "log">,
): Promise<{ strays: Stray[]; complete: boolean }> {
  const known = (hex: string) => records.byHex(hex) !== undefined;
  const found: Stray[] = [];
  const silent = new Set<string>();
  for (const driver of drivers) {
    try {
      for (const info of await driver.list(known)) found.push({ ...info, driver: driver.name });
    } catch (error) {
      silent.add(driver.name);
      log.warn({ driver: driver.name, cause: describe(error) }, "the sandboxes of a driver cannot be listed");
    }
  }
  const strays = [...found, ...before().filter(({ driver }) => silent.has(driver))];
  return { strays: strays.filter(({ hex }) => !known(hex)), complete: silent.size === 0 };
}

/** Serves a sandbox its metadata, which the process before this one did. */
export function serveAgain(
  driver: SandboxDriver,
  runner: Runner,
  document: Promise<MetadataDocument>,
  log: Logger,
): void {
  document
    .then((metadata) => driver.publish(runner.hex, metadata))
    .catch((error: unknown) => log.warn({ runner: runner.id, cause: describe(error) }, "metadata not served again"));
}
