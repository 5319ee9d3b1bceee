// `npm run faults -- [--driver fake|qemu] [--count N] [--seed S] [--points [--store-lost]] [--parallel N]`: kills the daemon
// at chosen moments, starts it again, and proves that no job was lost and nothing is left. Without --points the moments
// follow from seeds: the same events for the same seed.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Course, type Outcome, runCourse } from "../test/support/faults/course.ts";
import { fakeGround } from "../test/support/faults/ground.ts";
import { nameOf } from "../test/support/faults/orders.ts";
import { ALL_POINTS } from "../test/support/faults/points.ts";
import { buildFaultDaemon, DIST } from "../test/support/faults/program.ts";
import { qemuGround } from "../test/support/faults/qemu-ground.ts";
import { SCENARIOS } from "../test/support/faults/scenarios.ts";
import { courseOf } from "../test/support/faults/seeds.ts";
import { root } from "./toolchain.mjs";

const { values } = parseArgs({
  options: {
    /** How many random courses. */
    count: { type: "string", default: "20" },
    /** The first seed; the others follow. */
    seed: { type: "string" },
    /** Every point once instead, and with `store-lost` each death takes the store with it. */
    points: { type: "boolean", default: false },
    "store-lost": { type: "boolean", default: false },
    /** What sandboxes are: `fake` (child processes) or `qemu` (real guests, as root). */
    driver: { type: "string", default: "fake" },
    /** How many worlds at a time; real guests have the host for themselves. */
    parallel: { type: "string" },
  },
});

const LOGS = join(root, ".cache", "faults");

interface Item {
  name: string;
  course: Course;
  /** All its kills must happen. */
  strict: boolean;
}

const program = await buildFaultDaemon(values.driver === "qemu" ? DIST : undefined);
const ground = values.driver === "qemu" ? await qemuGround() : fakeGround;
const parallel = values.driver === "qemu" ? 1 : Number(values.parallel ?? 4);
const items = values.points ? pointItems() : seedItems();
const outcomes: Outcome[] = [];
let failed = 0;
let next = 0;

// Every world adds a listener that takes it away.
process.setMaxListeners(100);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
await Promise.all(Array.from({ length: parallel }, work));
summarize();
process.exitCode = failed === 0 ? 0 : 1;

async function work(): Promise<void> {
  for (let item = items[next++]; item !== undefined; item = items[next++]) {
    const began = performance.now();
    const outcome = await runCourse(item.course);
    outcomes.push(outcome);
    const missed = item.strict && outcome.killed < item.course.kills.length;
    const ok = outcome.findings.length === 0 && !missed;
    if (!ok) failed++;
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    const deaths = `${outcome.killed} of ${item.course.kills.length} deaths`;
    process.stdout.write(
      `${ok ? "ok  " : "FAIL"} ${String(outcomes.length).padStart(4)}/${items.length} ${item.name} (${deaths}, ${seconds} s)\n`,
    );
    for (const { kind, what } of outcome.findings) process.stdout.write(`       ${kind}: ${what}\n`);
    if (missed) process.stdout.write("       a point was never reached\n");
    if (ok) continue;
    const log = join(LOGS, `${item.name.replace(/[:,].*/s, "").replaceAll(" ", "-")}.log`);
    mkdirSync(LOGS, { recursive: true });
    writeFileSync(log, outcome.output);
    process.stdout.write(`       what the daemons said: ${log}\n`);
  }
}

function seedItems(): Item[] {
  const first = values.seed === undefined ? Date.now() % 1_000_000_000 : Number(values.seed);
  return Array.from({ length: Number(values.count) }, (_, index) => {
    const { title, ...course } = courseOf(first + index);
    return { name: `seed ${first + index}: ${title}`, course: { ...course, program, ground }, strict: false };
  });
}

function pointItems(): Item[] {
  const storeLost = values["store-lost"];
  const points = ALL_POINTS.filter(({ step }) => !storeLost || SCENARIOS[step].needsStore !== true);
  return points.map(({ step, point }) => ({
    name: `${step} ${point}${storeLost ? ", store lost" : ""}`,
    course: { scenario: SCENARIOS[step], kills: [{ step, point, hit: 1, storeLost }], program, ground },
    strict: true,
  }));
}

function summarize(): void {
  const passed = new Set(outcomes.flatMap((outcome) => [...outcome.passed]));
  const points = ALL_POINTS.map(nameOf);
  const missing = points.filter((point) => !passed.has(point));
  const findings = outcomes.flatMap((outcome) => outcome.findings);
  const recovery = outcomes.flatMap((outcome) => outcome.recovery).toSorted((a, b) => a - b);
  const seconds = (share: number) =>
    ((recovery[Math.min(Math.floor(share * recovery.length), recovery.length - 1)] ?? 0) / 1_000).toFixed(1);
  const count = (kind: string) => findings.filter((finding) => finding.kind === kind).length;
  const deaths = outcomes.reduce((sum, { killed }) => sum + killed, 0);
  process.stdout.write(
    [
      "",
      `${outcomes.length} courses, ${failed} failed; ${deaths} deaths of the daemon survived`,
      `${points.length - missing.length} of ${points.length} points passed${missing.length === 0 ? "" : `; not: ${missing.join(", ")}`}`,
      `${count("leak")} leaks, ${count("job")} jobs lost, repeated or ended wrongly`,
      `from a restart to rest: p50 ${seconds(0.5)} s, longest ${seconds(1)} s`,
      "",
    ].join("\n"),
  );
}
