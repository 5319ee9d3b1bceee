import { FireteactError } from "../../base/errors.ts";
import type { AgentOptions } from "../options.ts";
import type { Engine } from "./engine.ts";

/** Engines by name, each loaded when it is needed. `act_runner` is gitea-runner's former name. */
const ENGINES: Record<string, () => Promise<Engine>> = {
  shell: async () => (await import("./shell.ts")).shellEngine,
  "gitea-runner": async () => (await import("./gitea-runner.ts")).giteaRunner,
  act_runner: async () => (await import("./gitea-runner.ts")).giteaRunner,
  "forgejo-runner": async () => (await import("./forgejo-runner.ts")).forgejoRunner,
};

/** Names of the engines that this image has. */
export async function availableEngines(options: AgentOptions): Promise<string[]> {
  const found: string[] = [];
  for (const [name, load] of Object.entries(ENGINES)) {
    if (name !== "act_runner" && (await load()).find(options) !== undefined) found.push(name);
  }
  return found;
}

/** The engine and its program. Throws `NO_SUCH_ENGINE` or `ENGINE_MISSING`. */
export async function findEngine(name: string, options: AgentOptions): Promise<{ engine: Engine; program: string }> {
  const load = ENGINES[name];
  if (load === undefined) {
    throw new FireteactError("NO_SUCH_ENGINE", `there is no engine called ${JSON.stringify(name)}`, {
      hint: `the engines are ${Object.keys(ENGINES).join(", ")}`,
    });
  }
  const engine = await load();
  const program = engine.find(options);
  if (program === undefined) {
    throw new FireteactError("ENGINE_MISSING", `the image has no program for the engine ${name}`, {
      hint: "take an image with this engine, or name another engine for the pool",
    });
  }
  return { engine, program };
}
