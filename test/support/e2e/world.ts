import { stringify } from "yaml";
import { findLeftovers } from "../../../src/cli/demo/leftovers.ts";
import type { RunHandle } from "../../../src/forge-simulator/handle.ts";
import {
  createForgeSimulator,
  type ForgeSimulator,
  type ForgeSimulatorOptions,
} from "../../../src/forge-simulator/simulator.ts";
import { type Daemon, type RunnerView, startDaemon } from "./daemon.ts";
import { addHostAddress, HOST_ADDRESS, MINUTE, PLACES, removeHostAddress } from "./host.ts";
import type { TestImage } from "./program.ts";
import { standInSettings } from "./stand-in.ts";

export type Step = Record<string, unknown>;
/** Jobs by key; a bare list of steps runs on the label `e2e`. */
export type Jobs = Record<string, Step[] | (Record<string, unknown> & { steps: Step[] })>;

/** A forge, a daemon that serves it with real guests, and a look at what they leave behind. */
export interface World {
  forge: ForgeSimulator;
  daemon: Daemon;
  push(jobs: Jobs, repository?: string): Promise<RunHandle>;
  /** The conclusions by job key. Rejects when the daemon ends first. */
  finished(run: RunHandle, within?: number): Promise<Record<string, string>>;
  /** The log of a job's last attempt, one text. */
  log(run: RunHandle, job: string): string;
  /** The closed record of the runner that took the job. */
  closedRunner(run: RunHandle, job: string): Promise<RunnerView>;
  /** Waits for an open runner for which it holds. */
  runner(what: string, holds: (runner: RunnerView) => boolean): Promise<RunnerView>;
  /** Waits for a closed runner for which it holds. */
  closed(what: string, holds: (runner: RunnerView) => boolean): Promise<RunnerView>;
  /** After each test: no runner is open, and nothing of any is left, on this host or in the forge. */
  settled(): Promise<void>;
  /** Stops everything; rejects when anything at all is left of it. */
  close(): Promise<void>;
}

export interface WorldOptions {
  image: TestImage;
  forge?: Partial<ForgeSimulatorOptions>;
  /** Address of the forge for the daemon and guests, where that is not the simulator's own. */
  instanceUrl?: (forge: ForgeSimulator) => string;
  gitea?: Record<string, unknown>;
  pools: Record<string, unknown>[];
  config?: Record<string, unknown>;
}

export const REPOSITORIES = ["acme/site", "acme/other"];

/** `FIRETEACT_E2E_DRIVER=firecracker` runs every test in guests of the stand-in for Firecracker. */
const DRIVER = process.env["FIRETEACT_E2E_DRIVER"] ?? "qemu";

export async function startWorld(options: WorldOptions): Promise<World> {
  const before = await findLeftovers(PLACES);
  if (before.length > 0) throw new Error(`is another fireteact running? There is already:\n${before.join("\n")}`);
  const standIn = DRIVER === "firecracker" ? (await standInSettings()).settings : {};
  await addHostAddress();
  const forge = await createForgeSimulator({
    flavour: "gitea",
    version: "1.25.1",
    host: HOST_ADDRESS,
    ...options.forge,
  });
  try {
    forge.addUser("admin", { admin: true });
    forge.addOrganization("acme", { owners: ["admin"] });
    for (const name of REPOSITORIES) {
      await forge.addRepository(name, { files: { "name.txt": `${name}\n` }, private: true });
    }
    const daemon = await startDaemon({
      gitea: {
        instanceURL: options.instanceUrl?.(forge) ?? forge.url,
        apiToken: forge.addToken("admin", ["all"]),
        runnerScope: "instance",
        ...options.gitea,
      },
      server: { address: "127.0.0.1:0", metricsAddress: "127.0.0.1:0" },
      shutdown: "kill",
      pollInterval: "1s",
      // A machine that runs the tests beside other work gives guests a fraction of what they need.
      limits: { boot: "2m", ready: "5m" },
      guest: options.image.guest,
      pools: options.pools.map((pool) => complete(pool, options.image, standIn)),
      ...options.config,
    });
    return worldOf(forge, daemon);
  } catch (error) {
    await forge.close();
    await removeHostAddress();
    throw error;
  }
}

/** A pool of small guests, of `DRIVER` where it names none; its block `qemu` or `firecracker` and `runner` add to it. */
function complete(given: Record<string, unknown>, { reference }: TestImage, more: object) {
  const { driver = DRIVER, runner, qemu, firecracker = qemu, ...pool } = given;
  const isQemu = driver === "qemu";
  const size = { memSizeMib: 512, vcpuCount: 1, diskSizeMib: 1024 };
  return {
    driver,
    engine: "shell",
    minRunners: 0,
    maxRunners: 2,
    ...pool,
    runner: { image: reference, labels: ["e2e"], ...(runner as object) },
    ...(isQemu
      ? { qemu: { ...size, ...(qemu as object) } }
      : { firecracker: { ...size, ...more, ...(firecracker as object) } }),
  };
}

function worldOf(forge: ForgeSimulator, daemon: Daemon): World {
  const lastAttempt = (run: RunHandle, job: string) => {
    const attempt = run.job(job).attempts.at(-1);
    if (attempt === undefined) throw new Error(`no runner took the job ${job}`);
    return attempt;
  };
  const closed: World["closed"] = (what, holds) => daemon.until(what, async () => (await daemon.history()).find(holds));

  /** After a failure, so that the next test begins with nothing. */
  const clear = async () => {
    for (const run of new Set(forge.jobs().map((job) => job.run))) forge.cancelRun(run);
    for (const { id } of await daemon.runners()) await daemon.call("DELETE", `/api/v1/runners/${id}?force=1`);
    await daemon.until("no runner", async () => ((await daemon.runners()).length === 0 ? true : undefined), MINUTE);
  };

  return {
    forge,
    daemon,
    push: (jobs, repository = "acme/site") => {
      const definitions = Object.entries(jobs).map(([key, job]) => [
        key,
        { "runs-on": "e2e", ...(Array.isArray(job) ? { steps: job } : job) },
      ]);
      return forge.pushWorkflow({ repository, yaml: stringify({ on: "push", jobs: Object.fromEntries(definitions) }) });
    },
    finished: (run, within) =>
      daemon.until(
        `the end of run ${run.id}`,
        () => {
          const jobs = run.jobs();
          const open = jobs.some(({ status }) => ["blocked", "waiting", "running"].includes(status));
          return open ? undefined : Object.fromEntries(jobs.map(({ key, status }) => [key, status]));
        },
        within,
      ),
    log: (run, job) =>
      lastAttempt(run, job)
        .log.map(({ content }) => content)
        .join("\n"),
    closedRunner: (run, job) => {
      const { name } = lastAttempt(run, job).runner;
      return closed(`the end of ${name}`, (runner) => runner.name === name);
    },
    runner: (what, holds) => daemon.until(what, async () => (await daemon.runners()).find(holds)),
    closed,
    settled: async () => {
      const look = async () => [
        ...(await daemon.runners()).map(({ id, phase }) => `runner ${id} (${phase})`),
        ...forge.runners("existing").map(({ name }) => `runner ${name} in the forge`),
        ...(await findLeftovers(PLACES)).filter((line) => /^(process|sandbox|disk|network claim)/.test(line)),
      ];
      let left: string[] = [];
      try {
        await daemon.until(
          "nothing to be left",
          async () => {
            left = await look();
            return left.length === 0 ? true : undefined;
          },
          MINUTE / 2,
        );
      } catch (cause) {
        await clear();
        throw new Error(`LEFT BEHIND:\n${left.join("\n")}`, { cause });
      }
    },
    close: async () => {
      const code = await daemon.stop();
      const rows = forge.runners("existing").map(({ name }) => `runner ${name} in the forge`);
      await forge.close();
      await removeHostAddress();
      const left = [...rows, ...(await findLeftovers(PLACES))];
      if (left.length > 0) throw new Error(`LEFT BEHIND:\n${left.join("\n")}\nThe daemon said:\n${daemon.log()}`);
      if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${daemon.log()}`);
    },
  };
}
