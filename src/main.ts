// Entry of the program. Commands load what they need only when they run, so that `fireteact pools` starts quickly.
import { runProgram } from "./cli/program.ts";

async function main(): Promise<void> {
  process.exitCode = await runProgram(process.argv.slice(2));
}

void main();
