import { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/base/clock.ts";
import { type AgentChannel, createAgentChannel } from "../../../src/channel/agent.ts";
import type { SandboxExit } from "../../../src/core/types.ts";
import type { MetadataDocument, SandboxDriver, SandboxInfo, SandboxSpec } from "../../../src/sandbox/port.ts";
import { type EngineScript, runScriptedEngine, type ScriptedCredentials } from "./engine.ts";

export interface Script extends EngineScript {
  /** Milliseconds from start to the agent's first word; Infinity: never. */
  bootTime: number;
  failCreate?: () => boolean;
  /** What is at the guest's end of the channel instead of an agent; `absent`: nobody. */
  guest?: "absent" | ((stream: Duplex) => void);
  /** Milliseconds that an agent waits at its end for a host that listens. */
  lastWords?: number;
  /** The agent is the original's: it takes its registration from a file and opens no channel. */
  original?: boolean;
}

export type ScriptedDriver = ReturnType<typeof createScriptedDriver>;

interface Scripted {
  spec: SandboxSpec;
  document: MetadataDocument;
  channel: AgentChannel;
  abort: AbortController;
  engine?: Promise<void>;
  draining: boolean;
  exit?: SandboxExit;
  watchers: Set<(exit: SandboxExit) => void>;
}

/**
 * A driver whose sandboxes live inside the test: the real channel and the real runner protocol, no process. For many
 * jobs in little time; what real processes do is tested with the fake and QEMU drivers.
 */
export function createScriptedDriver(script: Script) {
  const sandboxes = new Map<string, Scripted>();
  const created: string[] = [];
  const dialled: string[] = [];

  const driver: SandboxDriver = {
    name: "fake",
    prepare: () => Promise.resolve({ ok: true, detail: "scripted" }),
    create: (spec) => {
      created.push(spec.hex);
      if (script.failCreate?.() === true) return Promise.reject(new Error("the script says so"));
      sandboxes.set(spec.hex, start(spec));
      return Promise.resolve({});
    },
    list: () => Promise.resolve([...sandboxes.values()].map(infoOf)),
    remove: async (hex) => {
      const sandbox = sandboxes.get(hex);
      sandboxes.delete(hex);
      if (sandbox === undefined) return;
      end(sandbox, { code: null, signal: "SIGKILL", at: Date.now() });
      await sandbox.engine;
    },
    dial: (hex) => {
      dialled.push(hex);
      const sandbox = sandboxes.get(hex);
      const isDeaf = sandbox === undefined || sandbox.exit !== undefined || script.original === true;
      if (isDeaf || script.guest === "absent") return Promise.reject(new Error("nobody listens"));
      const [host, guest] = duplexPair();
      if (script.guest === undefined) sandbox.channel.attach(guest);
      else script.guest(guest);
      return Promise.resolve(host);
    },
    publish: (hex, document) => {
      const sandbox = sandboxes.get(hex);
      if (sandbox !== undefined) {
        sandbox.document = document;
        look(sandbox);
      }
      return Promise.resolve();
    },
    watch: (hex, onExit) => {
      const sandbox = sandboxes.get(hex);
      if (sandbox?.exit !== undefined) onExit(sandbox.exit);
      sandbox?.watchers.add(onExit);
      return () => void sandbox?.watchers.delete(onExit);
    },
    console: () => Promise.resolve(""),
    close: () => Promise.resolve(),
  };

  function start(spec: SandboxSpec): Scripted {
    const sandbox: Scripted = {
      spec,
      document: spec.metadata,
      abort: new AbortController(),
      draining: false,
      watchers: new Set(),
      channel: createAgentChannel({
        agent: "scripted",
        clock: systemClock,
        onOrder: (order) => {
          if (order.kind === "metadata") look(sandbox);
          if (order.kind === "drain") sandbox.draining = true;
          if (order.kind === "drain" && sandbox.engine === undefined) sandbox.channel.report({ kind: "drained" });
        },
      }),
    };
    if (script.bootTime !== Infinity && script.guest === undefined) void boot(sandbox);
    return sandbox;
  }

  async function boot(sandbox: Scripted) {
    try {
      await sleep(script.bootTime, undefined, { signal: sandbox.abort.signal });
    } catch {
      return;
    }
    sandbox.channel.report({ kind: "up", agent: "scripted", engines: ["shell"] });
    look(sandbox, true);
  }

  const booted = new WeakSet<Scripted>();
  function look(sandbox: Scripted, up = false): void {
    if (up) booted.add(sandbox);
    const credentials = script.original === true ? credentialsInFile(sandbox.spec) : credentialsIn(sandbox.document);
    if (!booted.has(sandbox) || credentials === undefined || sandbox.engine !== undefined) return;
    sandbox.channel.report({ kind: "starting", engine: "shell" });
    sandbox.engine = runScriptedEngine(credentials, script, {
      report: (event) => sandbox.channel.report(event),
      draining: () => sandbox.draining,
      signal: sandbox.abort.signal,
    })
      .then(() => sandbox.channel.flush(script.original === true ? 0 : (script.lastWords ?? 2_000)))
      .then(() => end(sandbox, { code: 0, signal: null, at: Date.now() }))
      .catch((error: unknown) => {
        if (sandbox.abort.signal.aborted) return;
        if (script.original === true) end(sandbox, { code: 0, signal: null, at: Date.now() });
        sandbox.channel.report({ kind: "failed", detail: String(error) });
      });
  }

  function end(sandbox: Scripted, exit: SandboxExit): void {
    if (sandbox.exit !== undefined) return;
    sandbox.exit = exit;
    sandbox.abort.abort();
    sandbox.channel.close();
    for (const watcher of sandbox.watchers) watcher(exit);
  }

  return {
    driver,
    created,
    dialled,
    /** What a sandbox was made from. */
    spec: (hex: string) => sandboxes.get(hex)?.spec,
    running: () => sandboxes.size,
    alive: () => [...sandboxes.values()].filter(({ exit }) => exit === undefined).length,
    crash: (hex: string) => crash(hex),
    /** Ends every sandbox, at the end of a test. */
    end: async () => {
      for (const [hex, sandbox] of sandboxes) {
        sandboxes.delete(hex);
        end(sandbox, { code: null, signal: "SIGKILL", at: Date.now() });
        await sandbox.engine;
      }
    },
  };

  function crash(hex: string): void {
    const sandbox = sandboxes.get(hex);
    if (sandbox !== undefined) end(sandbox, { code: 1, signal: null, reason: "crashed by the test", at: Date.now() });
  }
}

function infoOf({ spec, exit }: Scripted): SandboxInfo {
  const state = exit === undefined ? "running" : "exited";
  return { hex: spec.hex, pool: spec.pool, runnerId: spec.runnerId, state, ...(exit === undefined ? {} : { exit }) };
}

function credentialsIn(document: MetadataDocument): ScriptedCredentials | undefined {
  const tree = document as { latest?: { "meta-data"?: { fireteact?: { credentials?: ScriptedCredentials } } } };
  return tree.latest?.["meta-data"]?.fireteact?.credentials;
}

/** As act_runner reads them. */
function credentialsInFile({ files }: SandboxSpec): ScriptedCredentials | undefined {
  const file = files?.["/opt/act_runner/.runner"];
  if (file === undefined) return undefined;
  const { labels, ...rest } = JSON.parse(file.content) as { labels: string[] } & Omit<ScriptedCredentials, "labels">;
  return { ...rest, labels: labels.join(",") };
}

/** Two ends of one byte stream. */
function duplexPair(): [Duplex, Duplex] {
  const make = (other: () => Duplex): Duplex =>
    new Duplex({
      read: () => {},
      write: (chunk: Buffer, _, done) => {
        other().push(chunk);
        done();
      },
      final: (done) => {
        other().push(null);
        done();
      },
      destroy: (error, done) => {
        if (!other().destroyed) setImmediate(() => other().destroy());
        done(error);
      },
    });
  const a: Duplex = make(() => b);
  const b: Duplex = make(() => a);
  return [a, b];
}
