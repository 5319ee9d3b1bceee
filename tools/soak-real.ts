import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fakeGround } from "../test/support/faults/ground.ts";
import { runLong, type Sample } from "../test/support/faults/long-run.ts";
import { buildFaultDaemon, DIST } from "../test/support/faults/program.ts";
import { qemuGround } from "../test/support/faults/qemu-ground.ts";
import { say, spread } from "./soak-model.ts";
import { root } from "./toolchain.mjs";

interface RealSoak {
  minutes: number;
  seed: number;
  jobs: number;
  isFake: boolean;
}

/** Load by the wall clock, with deaths of the daemon; says whether everything was as it should be. */
export async function soakReal({ minutes, seed, jobs, isFake }: RealSoak): Promise<boolean> {
  say(`${minutes} minutes with ${isFake ? "child processes" : "real guests"}, ${jobs} jobs at a time, seed ${seed}`);
  await buildFaultDaemon(DIST);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  const run = await runLong({
    minutes,
    seed,
    jobs,
    ground: isFake ? fakeGround : await qemuGround(),
    // As bin/fireteact starts it.
    command: (config) => ["--max-semi-space-size=2", join(DIST, "main.cjs"), "serve", "-c", config],
    progress: tell,
  });
  const { success, failure, cancelled, killed } = run.jobs;
  say(`jobs: ${success} to succeed, ${failure} to fail, ${cancelled} cancelled, ${killed} whose sandbox was killed`);
  say(`${run.deaths} deaths of the daemon`);
  say(`memory: ${spread(run.samples.map(({ rssMib }) => rssMib))} MiB`);
  say(`open files: ${spread(run.samples.map(({ descriptors }) => descriptors))}`);
  for (const { kind, what } of run.findings) say(`${kind}: ${what}`);
  if (run.findings.length > 0) keep(run.output);
  else say("every job ended once, as it should; nothing left");
  return run.findings.length === 0;
}

function tell({ minute, done, deaths, rssMib, descriptors, namespaces, disks, rows }: Sample): void {
  say(
    `  minute ${minute.toFixed(1)}: ${done} jobs, ${deaths} deaths, ${rssMib.toFixed(0)} MiB, ${descriptors} files, ${namespaces} namespaces, ${disks} disks, ${rows} rows`,
  );
}

function keep(output: string): void {
  const directory = join(root, ".cache", "faults");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "soak.log"), output);
  say(`what the daemons said: ${join(directory, "soak.log")}`);
}
