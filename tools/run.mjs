// `node tools/run.mjs FILE [ARG...]` runs FILE under the pinned Node with the locked packages in place.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { ensureModules, ensureNode, environment } from "./toolchain.mjs";

try {
  const wanted = process.env.FIRETEACT_NODE ? Number(process.env.FIRETEACT_NODE) : undefined;
  const node = ensureNode(wanted, wanted !== undefined);
  ensureModules(node);
  const child = spawn(node, process.argv.slice(2), { stdio: "inherit", env: environment(node) });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(error));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
} catch (error) {
  fail(error);
}

function fail(error) {
  process.stderr.write(`fireteact: ${error.message}\n`);
  process.exit(1);
}
