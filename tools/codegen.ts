// `npm run codegen`: makes gen/ anew from proto/. The output is committed and never edited.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { root } from "./toolchain.mjs";

execFileSync(join(root, "node_modules", ".bin", "buf"), ["generate"], { cwd: root, stdio: "inherit" });
