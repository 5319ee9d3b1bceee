import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Description } from "./description.ts";

export const readDescription = (): Description =>
  parse(readFileSync(join(import.meta.dirname, "firecracker-api.yaml"), "utf8")) as Description;
