import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { startDaemon } from "./daemon.ts";
import { startForge } from "./forge.ts";
import { type Bench, scratchDirectory, until } from "./harness.ts";

/** Clock ticks a second in /proc, the same on every Linux. */
const TICKS = 100;

export const thousand: Bench = {
  name: "thousand",
  what: "memory and processor time of the orchestrator with 1,000 idle runners",
  run: async ({ quick, progress }) => {
    const [count, settle, idle] = quick ? [100, 5, 10] : [1_000, 20, 60];
    using directory = scratchDirectory();
    await using forge = await startForge();
    const began = performance.now();
    await using daemon = await startDaemon(directory.path, {
      gitea: { instanceURL: forge.url, apiToken: forge.token, runnerScope: "instance" },
      pools: [
        {
          name: "crowd",
          driver: "fake",
          engine: "shell",
          minRunners: count,
          maxRunners: count,
          runner: { labels: ["linux"] },
        },
      ],
    });
    const empty = residentMb(daemon.pid);
    await until(`${count} runners wait for jobs`, async () => (await daemon.idle()) === count, {
      timeout: 240_000,
      pause: 1_000,
    });
    const filled = (performance.now() - began) / 1000;
    progress(`${count} runners are there after ${filled.toFixed(1)} s`);
    await sleep(settle * 1000);
    const shares: number[] = [];
    const memory: number[] = [];
    for (let second = 0; second < idle; second += 5) {
      const before = processorSeconds(daemon.pid);
      const from = performance.now();
      await sleep(5_000);
      shares.push(((processorSeconds(daemon.pid) - before) / (performance.now() - from)) * 100_000);
      memory.push(residentMb(daemon.pid));
    }
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const alive = await daemon.idle();
    if (alive !== count) throw new Error(`only ${alive} of ${count} runners are left`);
    return {
      figures: [
        {
          name: `resident memory after ${idle} s idle, ${count} runners`,
          unit: "MB",
          samples: [memory.at(-1) ?? 0],
          aims: [{ statistic: "max", under: 150 }],
        },
        {
          name: `processor over ${idle} s idle, ${count} runners (of one processor)`,
          unit: "%",
          samples: [mean],
          aims: [{ statistic: "max", under: 1 }],
        },
        { name: "processor in pieces of 5 s", unit: "%", samples: shares, aims: [] },
        { name: "resident memory meanwhile", unit: "MB", samples: memory, aims: [] },
        { name: "resident memory before the first runner", unit: "MB", samples: [empty], aims: [] },
        { name: `start of ${count} runners`, unit: "s", samples: [filled], aims: [] },
      ],
      notes: [
        `\`bin/fireteact serve\` in a process of its own, one pool of the fake driver with minRunners = maxRunners = ${count}, poll every 5 s (the default), store on disk, Gitea 1.25.1 simulator in another process.`,
        "The sandboxes are real child processes with the same records, shim, sockets and channel as a microVM. In them runs bench/fixtures/agent.pl, which speaks the channel's protocol and waits (4 MB each), since so many Node agents would need more memory than the machine has. The runners are warm: up, without a registration.",
        "Memory is VmRSS, processor time utime + stime, both of the orchestrator's process alone. Nobody calls its API meanwhile.",
      ],
    };
  },
};

function residentMb(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1000;
}

function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
