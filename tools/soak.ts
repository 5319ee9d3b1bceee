// `npm run soak [-- --hours N --seed N]`: hours of load and trouble on a fake clock, with the real orchestrator.
// `npm run soak -- --real [--minutes N --seed N --jobs N --driver fake|qemu]`: the same by the wall clock, with sandboxes.
import { parseArgs } from "node:util";
import { soakModel } from "./soak-model.ts";
import { soakReal } from "./soak-real.ts";

const { values } = parseArgs({
  options: {
    real: { type: "boolean", default: false },
    hours: { type: "string", default: "72" },
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    /** How many jobs are open at a time. */
    jobs: { type: "string", default: "3" },
    /** What sandboxes are: `qemu` (real guests, as root) or `fake` (child processes). */
    driver: { type: "string", default: "qemu" },
  },
});
const number = (name: "hours" | "minutes" | "seed" | "jobs"): number => {
  const value = Number(values[name]);
  if (value > 0) return value;
  process.stderr.write(`--${name} must be a number above 0\n`);
  process.exit(2);
};
const isSound = values.real
  ? await soakReal({
      minutes: number("minutes"),
      seed: number("seed"),
      jobs: number("jobs"),
      isFake: values.driver === "fake",
    })
  : await soakModel({ hours: number("hours"), seed: number("seed") });
process.exitCode = isSound ? 0 : 1;
