import { runAgent } from "./run.ts";

// The bundle that images carry; it is also called with the word that selects it in the whole program.
const args = process.argv.slice(process.argv[2] === "runner" ? 3 : 2);
void runAgent(args).then((code) => process.exit(code));
