// `npm run bench [-- NAME... --quick --keep]`: measures what docs/performance.md promises. Without names: everything.
// `--quick` shows in a minute that the benches work; `--keep` writes into bench/results and renews the document, which
// otherwise stay as they are (local results lie in bench/results/local).
import { join } from "node:path";
import { BENCHES } from "../bench/all.ts";
import { measure, type Result, ROOT, writeResult } from "../bench/harness.ts";
import { renewDocument, tableOf, verdictOf } from "../bench/report.ts";

const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));
const names = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const unknown = [
  ...flags.filter((flag) => !["--quick", "--keep"].includes(flag)),
  ...names.filter((name) => !BENCHES.some((bench) => bench.name === name)),
];
const quick = flags.includes("--quick");
const keep = flags.includes("--keep");
const directory = join(ROOT, "bench", "results", keep ? "" : "local");

if (unknown.length > 0) {
  fail(`${unknown.join(" ")}: there are the benches ${BENCHES.map(({ name }) => name).join(", ")}, --quick and --keep`);
} else if (quick && keep) {
  fail("the figures of a quick run are not worth keeping: leave out --quick or --keep");
} else {
  await run();
}

async function run(): Promise<void> {
  const results: Result[] = [];
  for (const bench of BENCHES) {
    if (names.length > 0 && !names.includes(bench.name)) continue;
    say(`\n${bench.name}: ${bench.what}`);
    const command = `npm run bench -- ${bench.name}${quick ? " --quick" : ""}`;
    const result = await measure(bench, { quick, progress: (line) => say(`  ${line}`) }, command);
    say(`  kept in ${writeResult(directory, result)}`);
    say(tableOf([result]));
    results.push(result);
  }
  if (results.length > 1) say(`\n${tableOf(results)}`);
  if (keep) renewDocument();
  const missed = results.flatMap(({ figures }) =>
    figures.flatMap((figure) => figure.aims.map((aim) => verdictOf(figure, aim))),
  );
  const count = missed.filter((verdict) => verdict === "missed").length;
  say(count === 0 ? "\nevery aim is kept" : `\n${count} of ${missed.length} aims are missed`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(text: string): void {
  process.stderr.write(`${text}\n`);
  process.exitCode = 2;
}
