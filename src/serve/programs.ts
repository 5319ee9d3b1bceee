import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import type { GuestSettings } from "../core/settings.ts";
import type { ImageSources } from "../image/build/build.ts";

/** Where this program's other bundles lie: beside it when it was built, in the sources when it was not. */
const here = dirname(realpathSync(process.argv[1] ?? "."));

/** Command that runs the agent under this Node. */
export function agentCommand(): string[] {
  const built = join(here, "agent.cjs");
  return [process.execPath, existsSync(built) ? built : join(here, "agent", "main.ts")];
}

/** What a guest image is made of: this program's own agent and Node, and what the configuration adds. */
export function imageSources(guest: GuestSettings = { caFiles: [], env: {}, engines: {} }): ImageSources {
  return {
    node: process.execPath,
    agent: join(here, "agent.cjs"),
    shellEngine: join(here, "shell-engine.cjs"),
    caFiles: guest.caFiles,
    env: guest.env,
    engines: guest.engines,
    files: join(here, "..", "images"),
  };
}
