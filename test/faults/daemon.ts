// `fireteact serve` with two differences: it searches the host more often, and it kills itself at the point it is told.
// The suite bundles it beside the agent. The product has no switch for this: what follows is not in it.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { FaultPoint } from "../../src/orchestrator/execute/run.ts";
import { runServe } from "../../src/serve/serve.ts";
import type { Orders } from "../support/faults/orders.ts";

const [configFile = "", ordersFile = "", state = "", run = ""] = process.argv.slice(2);
const { kill, armed, trace, housekeeping } = JSON.parse(readFileSync(ordersFile, "utf8")) as Orders;
let hits = 0;

const faultPoint: FaultPoint = (step, point) => {
  appendFileSync(trace, `${step} ${point}\n`);
  if (kill === undefined || !existsSync(armed)) return;
  if ((kill.step ?? step) !== step || (kill.point ?? point) !== point) return;
  if (++hits < kill.hit) return;
  appendFileSync(trace, "killed\n");
  process.kill(process.pid, "SIGKILL");
};

process.exitCode = await runServe({
  configFile,
  places: { state, run },
  version: { version: "0.0.0-faults", commit: "unknown", built: "for tests" },
  faultPoint,
  housekeeping,
});
