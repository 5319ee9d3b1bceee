import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { isOurs, newHex, type Places, runnerName } from "../../../src/base/names.ts";
import { kill } from "../../../src/base/process.ts";
import type { AttemptView } from "../../../src/forge-simulator/handle.ts";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";
import type { Daemon, Host, RunnerView } from "../host.ts";
import { monitorsBelow } from "../remains.ts";
import type { Ground } from "./ground.ts";
import { runMark } from "./prover.ts";

/** What a scenario can do. While its daemon may die at any moment, whatever waits for it is over when it did. */
export interface Act {
  host: Host;
  /** Pushes a workflow of jobs, by name: how long each takes in seconds, or `held` until the daemon has died. */
  push(jobs: Record<string, number | "held">, labels?: string[]): Promise<void>;
  /** Waits until the condition holds, or the daemon has died while it may. */
  until(expected: string, condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Waits for a runner for which it holds; undefined when the daemon has died. */
  runner(what: string, holds: (runner: RunnerView) => boolean): Promise<RunnerView | undefined>;
  /** Asks the API for something; nothing happens when the daemon has died. */
  call(method: string, path: string): Promise<void>;
  /** The first attempt of a job, as the forge has it. */
  attempt(job: string): AttemptView | undefined;
  /** Kills the agent in the sandbox that has the job, and with it the sandbox. */
  killSandbox(job: string): void;
  /** Kills the daemon and starts another, without what the first one knew. */
  startWithoutStore(): Promise<void>;
  /** Registers a runner that no daemon made, with an id of this host or of another. */
  plantRow(whose: "ours" | "foreign"): Promise<void>;
  /** Names of planted runners that are not this host's. */
  foreign: string[];
}

/** Deletes what a daemon knows: the store, logs, and who this host is. Disks are left, since guests have them open. */
export function loseStore({ state }: Places): void {
  const files = ["", "-wal", "-shm"].map((suffix) => `state.db${suffix}`);
  for (const name of [...files, "logs", "host-id"]) rmSync(join(state, name), { recursive: true, force: true });
}

/**
 * @param daemon the one that runs, or ran last
 * @param again kills it and starts another
 */
export function actOn(
  host: Host,
  ground: Ground,
  daemon: () => Daemon,
  mayDie: () => boolean,
  again: (prepare: () => void) => Promise<void>,
): Act {
  const dead = () => mayDie() && daemon().ended();
  const until: Act["until"] = (expected, condition) => host.until(expected, async () => dead() || (await condition()));
  const foreign: string[] = [];
  const attempt: Act["attempt"] = (job) => host.forge.jobs().find(({ key }) => key === job)?.attempts[0];
  return {
    attempt,
    killSandbox: (job) => {
      const hex = attempt(job)?.runner.name.slice(-24);
      if (hex === undefined) throw new Error(`no runner has the job ${job}`);
      for (const pid of monitorsBelow(join(host.places.run, "sandboxes", hex), host.daemons())) kill(pid, "SIGKILL");
    },
    host,
    foreign,
    push: async (jobs, labels = ["linux"]) => {
      const definitions = Object.entries(jobs).map(([name, takes]) => [
        name,
        {
          "runs-on": labels,
          steps: [{ run: `echo "${runMark(name)}"\n${takes === "held" ? ground.hold(host) : `sleep ${takes}`}` }],
        },
      ]);
      await host.forge.pushWorkflow({
        repository: "org/app",
        yaml: stringify({ on: "push", jobs: Object.fromEntries(definitions) }),
      });
    },
    until,
    runner: async (what, holds) => {
      let found: RunnerView | undefined;
      await until(what, async () => {
        found = (await daemon().runners()).find(holds);
        return found !== undefined;
      });
      return found;
    },
    call: async (method, path) => {
      const answer = await daemon()
        .call(method, path)
        .catch(() => undefined);
      if (answer !== undefined && answer.status >= 400) throw new Error(`${method} ${path}: ${answer.body}`);
      if (answer === undefined) await until("the daemon's death", () => false);
    },
    startWithoutStore: () => again(() => loseStore(host.places)),
    plantRow: async (whose) => {
      const ours = readFileSync(join(host.places.state, "host-id"), "utf8").slice(0, 6);
      const id = whose === "ours" ? ours : ours === "0f0f0f" ? "f0f0f0" : "0f0f0f";
      const name = runnerName(
        "ft",
        newHex(id, (digits) => "ab".repeat(digits / 2)),
      );
      if (!isOurs(name, id)) throw new Error(`${name} is no name of ${id}`);
      const { runner } = createRunnerClient({ baseUrl: host.forge.url });
      await runner.register({ name, token: host.forge.registrationToken(""), labels: ["other"], ephemeral: true });
      if (whose === "foreign") foreign.push(name);
    },
  };
}
