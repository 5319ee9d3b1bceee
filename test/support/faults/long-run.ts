import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { Daemon, Host } from "../host.ts";
import { createRandom, type Random } from "../model/random.ts";
import { namesIn } from "../remains.ts";
import { actOn } from "./act.ts";
import type { Ground } from "./ground.ts";
import { type Expected, type Finding, prove, runMark } from "./prover.ts";

export interface LongRunOptions {
  minutes: number;
  seed: number;
  ground: Ground;
  /** What Node runs as the daemon, given the configuration file. */
  command: (config: string) => string[];
  /** How many jobs are open at a time. */
  jobs: number;
  progress: (sample: Sample) => void;
}

/** The daemon and its host at one moment. */
export interface Sample {
  minute: number;
  done: number;
  deaths: number;
  rssMib: number;
  descriptors: number;
  namespaces: number;
  disks: number;
  rows: number;
}

/** What becomes of a job. */
type Fate = "success" | "failure" | "cancelled" | "killed";

export interface LongRun {
  /** By what became of them; `killed` are those whose sandbox was. */
  jobs: Record<Fate, number>;
  deaths: number;
  samples: Sample[];
  findings: Finding[];
  output: string;
}

const SAMPLE_EVERY = 30_000;
const LOOK_EVERY = 250;

/**
 * Load by the wall clock: jobs that end well, fail, are cancelled, or lose their sandbox, and a daemon that is killed now
 * and then. At the end everything comes to rest, and what is left is looked for.
 */
export async function runLong({ minutes, seed, ground, command, jobs, progress }: LongRunOptions): Promise<LongRun> {
  const random = createRandom(seed);
  await using host = await ground.open({ command }, { maxRunners: jobs, minIdle: 1 });
  let daemon = await host.serving();
  let deaths = 0;
  const again = async (between: () => void = () => undefined) => {
    daemon.process.kill("SIGKILL");
    await daemon.exit;
    between();
    daemon = await host.serving();
  };
  const act = actOn(
    host,
    ground,
    () => daemon,
    () => false,
    again,
  );
  const load = createLoad(host, random, (job) => act.killSandbox(job));
  const samples: Sample[] = [];
  const began = performance.now();
  const end = began + minutes * 60_000;
  /** Ten deaths in all, at times that nothing else keeps step with. */
  const nextDeath = () => performance.now() + random.between(0.5, 1.5) * Math.max((minutes * 60_000) / 10, 20_000);
  let deathAt = nextDeath();
  let sampleAt = began;
  while (performance.now() < end) {
    if (daemon.ended()) throw new Error(`the daemon ended by itself\n${daemon.output()}`);
    if (load.open() < jobs) await load.push();
    load.disturb();
    if (performance.now() >= deathAt) {
      await again();
      deaths++;
      deathAt = nextDeath();
    }
    if (performance.now() >= sampleAt) {
      sampleAt += SAMPLE_EVERY;
      samples.push(sampleOf(host, daemon, { minute: (performance.now() - began) / 60_000, done: load.done(), deaths }));
      progress(samples.at(-1) as Sample);
    }
    await sleep(LOOK_EVERY);
  }
  await host.until("every job has ended", () => {
    load.disturb();
    return load.open() === 0;
  });
  daemon.process.kill("SIGTERM");
  const { code } = await daemon.exit;
  const findings = await prove(host, ground, load.expected, act.foreign);
  if (code !== 0) findings.push({ kind: "leak", what: `the daemon ended with ${code}` });
  return { jobs: load.fates(), deaths, samples, findings, output: host.output() };
}

/** Jobs with a fate each, which is brought about once they run. */
function createLoad(host: Host, random: Random, killSandbox: (job: string) => void) {
  const expected: Record<string, Expected[string]> = {};
  const fates = new Map<string, { fate: Fate; run: number; at: number }>();
  let serial = 0;
  const view = (name: string) => host.forge.jobs().find(({ key }) => key === name);
  const isOpen = (name: string) => ["waiting", "running", "blocked"].includes(view(name)?.status ?? "");
  const doomed = new Set<string>();
  const waiting = () => [...fates.keys()].filter(isOpen);

  return {
    expected,
    open: () => waiting().length,
    done: () => fates.size - waiting().length,
    fates: () => {
      const counts: Record<Fate, number> = { success: 0, failure: 0, cancelled: 0, killed: 0 };
      for (const { fate } of fates.values()) counts[fate]++;
      return counts;
    },
    push: async () => {
      const name = `job${serial++}`;
      const chance = random.next();
      const fate: Fate = chance < 0.7 ? "success" : chance < 0.8 ? "failure" : chance < 0.9 ? "cancelled" : "killed";
      const work = { success: `sleep ${random.between(0.2, 8).toFixed(1)}`, failure: "exit 3" };
      const run = fate === "success" || fate === "failure" ? work[fate] : "sleep 3600";
      expected[name] = fate === "killed" ? "failure" : fate;
      const steps = [{ run: `echo "${runMark(name)}"\n${run}` }];
      const yaml = stringify({ on: "push", jobs: { [name]: { "runs-on": ["linux"], steps } } });
      const { id } = await host.forge.pushWorkflow({ repository: "org/app", yaml });
      fates.set(name, { fate, run: id, at: performance.now() + random.between(0, 20_000) });
    },
    /** Cancels jobs at any time, and kills the sandboxes of those that are to lose theirs once they run. */
    disturb: () => {
      for (const [name, { fate, run, at }] of fates) {
        if (doomed.has(name) || performance.now() < at) continue;
        if (fate === "cancelled") host.forge.cancelRun(run);
        else if (fate === "killed") {
          const log = view(name)?.attempts[0]?.log ?? [];
          if (!log.some(({ content }) => content.endsWith(runMark(name)))) continue;
          killSandbox(name);
        } else continue;
        doomed.add(name);
      }
    },
  };
}

function sampleOf(host: Host, daemon: Daemon, counts: Pick<Sample, "minute" | "done" | "deaths">): Sample {
  const { pid } = daemon.process;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    ...counts,
    rssMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    namespaces: namesIn("/run/netns").length,
    disks: namesIn(join(host.places.state, "disks")).length,
    rows: host.forge.runners("existing").length,
  };
}
