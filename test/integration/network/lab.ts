import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { exec } from "../../../src/base/exec.ts";
import type { CniNetworkOptions } from "../../../src/network/cni/network.ts";
import type { EmbeddedNetworkOptions } from "../../../src/network/embedded/network.ts";
import type { GuestNetwork, Network } from "../../../src/network/port.ts";

const DAEMON = fileURLToPath(new URL("./fixtures/daemon.ts", import.meta.url));
const GUEST = fileURLToPath(new URL("./fixtures/guest.py", import.meta.url));

export const HOST_ID = "abcdef";
export const hex = (number: number): string => `${HOST_ID}${number.toString(16).padStart(18, "0")}`;

/** Addresses of the small world around the host under test. */
export const WORLD = {
  /** The host on its two outside networks. */
  hostPublic: "203.0.113.1",
  hostPrivate: "192.168.50.1",
  /** Another machine: on the internet, and in the host's private network. */
  internet: "203.0.113.2",
  neighbour: "192.168.50.2",
  gateway: "10.201.0.1",
};

/** A program of the lab that answers one command at a time. */
export interface Actor {
  call<T = unknown>(method: string, ...args: unknown[]): Promise<T>;
  stop(): Promise<void>;
}

export interface Reply {
  ok: boolean;
  reply?: string;
  error?: string;
}

/** With `cni` it has a network of plugins instead of the embedded one. */
type DaemonSettings = Partial<EmbeddedNetworkOptions> & { cni?: Partial<CniNetworkOptions> };

export interface Daemon {
  call<T = unknown>(method: keyof Network | "publish" | "withdraw", ...args: unknown[]): Promise<T>;
  /** How long the last call took inside the daemon, in milliseconds. */
  lastMs(): number;
  /** Everything it logged. */
  log(): string;
  kill(): Promise<void>;
}

/** A host of its own: network namespaces, mounts and run directory, in which nothing touches the machine. */
export interface Lab {
  /** Runs a program on the host; rejects when it fails. */
  run(...argv: string[]): Promise<string>;
  /** Runs a program in one of the host's network namespaces. */
  runIn(namespace: string, ...argv: string[]): Promise<string>;
  nft(ruleset: string): Promise<void>;
  daemon(settings?: DaemonSettings, wrapper?: string[]): Daemon;
  /** A process on the host, or in a namespace of it. */
  actor(namespace?: string): Promise<Actor>;
  /** A guest wired to the tap of a network. */
  guest(network: GuestNetwork): Promise<Actor>;
  /** Interfaces, namespaces, claims and tables of Fireteact that are there. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

export async function createLab(): Promise<Lab> {
  // The sleep ends by itself, should nobody be left to end it.
  const setUp = "mount -t tmpfs lab /run && mkdir /run/netns && ip link set lo up && echo ready && exec sleep 600";
  const holder = spawn("unshare", ["--net", "--mount", "--propagation", "private", "sh", "-c", setUp], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const inside = ["nsenter", `--target=${holder.pid}`, "--net", "--mount"];
  const actors: { stop(): Promise<void> }[] = [];

  const run = async (...argv: string[]): Promise<string> => await output([...inside, ...argv]);
  const lab: Lab = {
    run,
    runIn: (namespace, ...argv) => run("ip", "netns", "exec", namespace, ...argv),
    nft: async (ruleset) => void (await output([...inside, "nft", "-f", "-"], ruleset)),
    daemon(settings = {}, wrapper = []) {
      const daemon = startDaemon([...inside, ...wrapper], settings);
      actors.push({ stop: () => daemon.kill() });
      return daemon;
    },
    async actor(namespace) {
      const actor = startActor([...inside, "python3", GUEST]);
      actors.push(actor);
      if (namespace !== undefined) await actor.call("enter", `/run/netns/${namespace}`);
      return actor;
    },
    async guest({ namespace, tap, owner, guestMac, guestAddress, gateway }) {
      const guest = await lab.actor();
      await guest.call("wire", namespace, tap, owner, guestMac, guestAddress, gateway);
      return guest;
    },
    async leftovers() {
      const script = [
        "ip -o link show | grep -oE '(fireteact0|ftv[0-9]+)' | sort -u",
        "ls /run/netns | grep ft-",
        "ls -A /run/fireteact/network",
        "nft list tables | grep fireteact",
        "true",
      ].join("; ");
      const found = await run("sh", "-c", `{ ${script}; } 2>/dev/null`);
      return found.split("\n").filter((line) => line !== "");
    },
    async close() {
      await Promise.all(actors.map((actor) => actor.stop()));
      await end(holder);
    },
  };
  return lab;
}

/** Puts the host between a private network and the internet, with one machine that is in both. */
export async function buildWorld(lab: Lab): Promise<Actor> {
  await lab.run(
    "sh",
    "-c",
    `ip -batch - <<'END'
netns add outside
link add wan type veth peer name eth0 netns outside
addr add ${WORLD.hostPublic}/24 dev wan
addr add ${WORLD.hostPrivate}/24 dev wan
link set wan up
route add default via ${WORLD.internet}
END`,
  );
  await lab.runIn(
    "outside",
    "sh",
    "-c",
    `ip -batch - <<'END'
link set lo up
addr add ${WORLD.internet}/24 dev eth0
addr add ${WORLD.neighbour}/24 dev eth0
link set eth0 up
route add 10.201.0.0/24 via ${WORLD.hostPrivate}
END`,
  );
  const outside = await lab.actor("outside");
  for (const port of [80, 53, 3000]) await outside.call("listen", "0.0.0.0", port);
  return outside;
}

/** The rules let a test see that what it looks for can be seen. */
export const tcp = (actor: Actor, host: string, port: number, send = "", source?: string): Promise<Reply> =>
  actor.call<Reply>("tcp", host, port, send, 1.5, source ?? null);

async function output(argv: string[], input = ""): Promise<string> {
  const [program = "", ...args] = argv;
  return (await exec(program, args, { input })).stdout;
}

function startDaemon(prefix: string[], settings: DaemonSettings): Daemon {
  const [program = "env", ...args] = prefix;
  const child = spawn(program, [...args, process.execPath, DAEMON, JSON.stringify(settings)], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  const waiting = new Map<number, (reply: Record<string, unknown>) => void>();
  let log = "";
  let lastMs = 0;
  let count = 0;
  child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
  child.stdin.on("error", () => undefined);
  createInterface({ input: child.stdout }).on("line", (line) => {
    const reply = JSON.parse(line) as Record<string, unknown>;
    waiting.get(Number(reply["id"]))?.(reply);
  });
  child.once("close", () => {
    for (const settle of waiting.values()) settle({ error: `the daemon ended: ${log}` });
  });
  return {
    async call<T>(method: string, ...args: unknown[]): Promise<T> {
      const id = count++;
      const reply = await new Promise<Record<string, unknown>>((resolve) => {
        waiting.set(id, resolve);
        child.stdin.write(`${JSON.stringify({ id, method, args })}\n`);
      });
      waiting.delete(id);
      lastMs = Number(reply["ms"]);
      if ("error" in reply) throw new Error(`${reply["code"]}: ${reply["error"]} (${reply["hint"]})`);
      return reply["result"] as T;
    },
    lastMs: () => lastMs,
    log: () => log,
    kill: () => end(child),
  };
}

function startActor(argv: string[]): Actor {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const replies = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let turn: Promise<unknown> = Promise.resolve();
  return {
    call<T>(method: string, ...args: unknown[]): Promise<T> {
      const answer = turn.then(async () => {
        child.stdin.write(`${JSON.stringify({ method, args })}\n`);
        const { value } = (await replies.next()) as { value?: string };
        const reply = JSON.parse(value ?? '{"error":"the actor ended"}') as { result?: T; error?: string };
        if (reply.error !== undefined) throw new Error(`${method}: ${reply.error}`);
        return reply.result as T;
      });
      turn = answer.catch(() => undefined);
      return answer;
    },
    stop: () => end(child),
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGKILL");
  await closed;
}
