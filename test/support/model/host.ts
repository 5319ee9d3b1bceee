import { type Duplex, duplexPair } from "node:stream";
import type { Clock } from "../../../src/base/clock.ts";
import type { SandboxExit } from "../../../src/core/types.ts";
import type { MetadataDocument, SandboxDriver, SandboxInfo, SandboxSpec } from "../../../src/sandbox/port.ts";
import type { ModelClock } from "./clock.ts";
import type { ModelForge, ModelJob } from "./forge.ts";
import { createGuest, type Guest, type GuestFate } from "./guest.ts";
import { type Life, mortal } from "./life.ts";
import type { Random } from "./random.ts";

export interface Sandbox {
  spec: SandboxSpec;
  /** `partial` while it is made or taken apart. */
  state: "partial" | "running" | "exited";
  startedAt: number;
  exit?: SandboxExit;
  guest: Guest;
  /** What its metadata address serves; nothing while no orchestrator is there. */
  document: MetadataDocument | undefined;
  watchers: Set<(exit: SandboxExit) => void>;
}

/** Probabilities of what goes wrong with one operation of the driver. */
export interface HostFaults {
  create: number;
  remove: number;
  publish: number;
  list: number;
}

export const NO_HOST_FAULTS: HostFaults = { create: 0, remove: 0, publish: 0, list: 0 };

export type ModelHost = ReturnType<typeof createModelHost>;

/** The sandboxes of one host. They live on whatever becomes of the orchestrator. */
export function createModelHost(options: {
  clock: ModelClock;
  random: Random;
  forge: ModelForge;
  /** How the next guest will turn out. */
  fate: () => GuestFate;
  /** The orchestrator ends a sandbox under a job that the forge still wants. */
  onKill: (sandbox: Sandbox, job: ModelJob) => void;
}) {
  const { clock, random, forge } = options;
  const sandboxes = new Map<string, Sandbox>();
  const faults: HostFaults = { ...NO_HOST_FAULTS };
  let created = 0;

  const end = (sandbox: Sandbox, exit: Omit<SandboxExit, "at">) => {
    if (sandbox.exit !== undefined) return;
    sandbox.exit = { ...exit, at: clock.now() };
    if (sandbox.state === "running") sandbox.state = "exited";
    sandbox.guest.end();
    for (const watcher of sandbox.watchers) watcher(sandbox.exit);
  };

  const found = (hex: string): Sandbox => {
    const sandbox = sandboxes.get(hex);
    if (sandbox === undefined) throw new Error(`there is no sandbox ${hex}`);
    return sandbox;
  };

  /** The driver as one process sees it. What it is doing when the process dies stays half done. */
  const driver = (life: Life, own: Clock): SandboxDriver => {
    const streams = new Set<Duplex>();
    const alive: SandboxDriver = {
      name: "fake",
      prepare: () => Promise.resolve({ ok: true, detail: "model" }),
      create: async (spec, { signal }) => {
        if (sandboxes.has(spec.hex)) throw new Error(`there is a sandbox ${spec.hex} already`);
        const guest = createGuest({
          clock,
          random,
          forge,
          fate: options.fate(),
          document: () => sandboxes.get(spec.hex)?.document,
          onEnd: (exit) => end(found(spec.hex), exit),
        });
        const sandbox: Sandbox = {
          spec,
          state: "partial",
          startedAt: clock.uptime(),
          guest,
          document: spec.metadata,
          watchers: new Set(),
        };
        sandboxes.set(spec.hex, sandbox);
        created++;
        try {
          await own.sleep(random.between(20, 600), signal);
          if (random.happens(faults.create)) throw new Error("no space left on device");
        } catch (error) {
          sandboxes.delete(spec.hex);
          throw error;
        }
        sandbox.state = "running";
        guest.start();
        await own.sleep(random.between(1, 50), signal);
        return { address: "10.0.0.2" };
      },
      list: () =>
        random.happens(faults.list)
          ? Promise.reject(new Error("too many open files"))
          : Promise.resolve([...sandboxes.values()].map(infoOf)),
      remove: async (hex, { signal }) => {
        const sandbox = sandboxes.get(hex);
        if (sandbox === undefined) return;
        await own.sleep(random.between(1, 100), signal);
        const job = sandbox.guest.job();
        if (sandbox.state !== "partial" && job?.state === "running") options.onKill(sandbox, job);
        sandbox.state = "partial";
        end(sandbox, { code: null, signal: "SIGKILL" });
        if (random.happens(faults.remove)) throw new Error("device or resource busy");
        await own.sleep(random.between(1, 100), signal);
        sandboxes.delete(hex);
      },
      dial: (hex) => {
        const sandbox = found(hex);
        if (sandbox.state !== "running") return Promise.reject(new Error("nobody listens"));
        const [host, inside] = duplexPair();
        streams.add(host);
        host.once("close", () => {
          streams.delete(host);
          // As the end of a socket whose other end was closed.
          inside.destroy();
        });
        inside.once("close", () => host.destroy());
        sandbox.guest.attach(inside);
        return Promise.resolve(host);
      },
      publish: async (hex, document) => {
        await own.sleep(random.between(1, 20));
        if (random.happens(faults.publish)) throw new Error("the metadata server is away");
        found(hex).document = document;
      },
      watch: (hex, onExit) => {
        const sandbox = sandboxes.get(hex);
        if (sandbox === undefined) return () => undefined;
        const tell = (exit: SandboxExit) => {
          if (!life.ended) onExit(exit);
        };
        if (sandbox.exit !== undefined) tell(sandbox.exit);
        sandbox.watchers.add(tell);
        return () => void sandbox.watchers.delete(tell);
      },
      console: () => Promise.resolve(""),
      close: () => {
        for (const stream of streams) stream.destroy();
        for (const sandbox of sandboxes.values()) sandbox.document = undefined;
        return Promise.resolve();
      },
    };
    return {
      ...mortal(life, alive),
      name: "fake",
      watch: (...args) => alive.watch(...args),
      close: () => alive.close(),
    };
  };

  return {
    sandboxes,
    faults,
    driver,
    created: () => created,
    /** The VMM of one is killed by somebody else. */
    kill: (sandbox: Sandbox) => {
      if (sandbox.state === "running") end(sandbox, { code: null, signal: "SIGKILL", reason: "out of memory" });
    },
  };
}

function infoOf({ spec, state, exit, startedAt }: Sandbox): SandboxInfo {
  return {
    hex: spec.hex,
    pool: spec.pool,
    runnerId: spec.runnerId,
    state,
    startedAt,
    ...(exit === undefined ? {} : { exit }),
  };
}
