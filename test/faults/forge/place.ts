import { expect } from "vitest";
import { createApi, createMetricsApp } from "../../../src/api/app.ts";
import { type Certificate, type FaultProxy, startFaultProxy, type Trouble } from "../../support/fault-proxy.ts";
import { eventually } from "../../support/orchestrator.ts";
import { attemptsOf, createWorld, type World, type WorldOptions } from "../../support/world.ts";

/** What is asked by REST: everything but what engines and registrations ask. */
export const REST = /^[A-Z]+ \/api\/v1\//;
export const REGISTRATION = /Register$|^POST \/api\/v1\/.*\/actions\/runners$/;
export const DELETION = /^DELETE \/api\/v1\/.*\/actions\/runners\/\d+$/;
/** Milliseconds between two reads. */
export const POLL = 1_000;
/** The longest pause between two polls, and what a busy machine needs. */
export const WITHIN_ONE_POLL = 1.1 * POLL + 500;
export const ENOUGH = () => AbortSignal.timeout(30_000);

/** A world whose orchestrator and engines reach the forge through a proxy that makes trouble. */
export interface Place extends World {
  proxy: FaultProxy;
  /** Begins a trouble; the place ends it where the test does not. */
  begin(trouble: Trouble, options?: { match?: RegExp; times?: number }): Promise<() => Promise<void>>;
  isOk(): boolean;
  busy(): number;
  /** What `/health?verbose` says. */
  verboseHealth(): Promise<{ status: string; problems: string[] }>;
  /** The value of one line of the metrics, by what it begins with. */
  metric(start: string): Promise<number>;
  /** Lines above debug about the forge, since the last call. */
  told(): string[];
  /** Requests of fireteact to the forge that matched, since `proxy.forget()`. */
  asked(match: RegExp): number;
  [Symbol.asyncDispose](): Promise<void>;
}

interface PlaceOptions extends WorldOptions {
  certificate?: Certificate;
  /** Further keys of the forge in the configuration. */
  gitea?: (world: World) => Record<string, unknown>;
}

export async function openPlace(options: PlaceOptions = {}): Promise<Place> {
  const { certificate, gitea = () => ({}), ...rest } = options;
  const world = await createWorld({
    poll: POLL,
    ...rest,
    script: { jobTime: 1_500, ...rest.script },
    idle: true,
    lasting: true,
  });
  const proxy = await startFaultProxy(world.forge.url, certificate);
  const configured = { instanceURL: proxy.url, apiToken: world.token, runnerScope: "instance", ...gitea(world) };
  await world.start({ extra: { ...options.extra, gitea: configured } });
  const ends: (() => Promise<void>)[] = [];
  const isOk = () => world.orchestrator.targets().every((target) => target.health === "ok");
  await eventually("the forge answers", isOk);
  await eventually("the driver is ready", () => world.orchestrator.pools().every(({ usable }) => usable));
  const metrics = async () => await world.composition.metrics.scrape();
  const deps = () => ({
    orchestrator: world.orchestrator,
    version: { version: "0", commit: "none", built: "now" },
    metrics,
    drain: () => undefined,
  });
  let read = world.lines.length;
  return Object.assign(world, {
    proxy,
    begin: async (trouble: Trouble, more?: { match?: RegExp; times?: number }) => {
      const end = await proxy.begin(trouble, more);
      ends.push(end);
      return async () => {
        ends.splice(ends.indexOf(end), 1);
        await end();
      };
    },
    isOk,
    busy: () => world.runners().filter(({ agent }) => agent.phase === "busy").length,
    verboseHealth: async () => {
      const answer = await createApi(deps(), "socket").request("/health?verbose");
      return (await answer.json()) as { status: string; problems: string[] };
    },
    metric: async (start: string) => {
      const text = await (await createMetricsApp(deps()).request("/")).text();
      const line = text.split("\n").find((each) => each.startsWith(start));
      if (line === undefined) throw new Error(`no metric begins with ${start}`);
      return Number(line.slice(line.lastIndexOf(" ") + 1));
    },
    told: () => {
      const fresh = world.lines.slice(read);
      read = world.lines.length;
      return fresh
        .filter(({ msg }) => /forge|step failed/.test(msg))
        .map(({ level, msg, cause }) => `${level} ${msg}${/step/.test(msg) ? `: ${cause}` : ""}`);
    },
    asked: (match: RegExp) => proxy.requests().filter(({ subject }) => match.test(subject)).length,
    [Symbol.asyncDispose]: async () => {
      for (const end of ends.splice(0)) await end();
      await world.end();
      await proxy.close();
    },
  });
}

/** Everything ran once, by the word of its own runner, and nothing is left here or in the forge. */
export async function expectClean(place: Place, sandboxes: number): Promise<void> {
  await place.cleared();
  expect(place.scripted.created).toHaveLength(sandboxes);
  const attempts = attemptsOf(place.forge);
  expect(attempts.filter(({ endedBy }) => endedBy !== "runner")).toEqual([]);
  expect(new Set(attempts.map(({ runner }) => runner)).size).toBe(attempts.length);
}
