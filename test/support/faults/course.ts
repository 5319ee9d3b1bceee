import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Daemon, Host } from "../host.ts";
import { namesIn } from "../remains.ts";
import { type Act, actOn, loseStore } from "./act.ts";
import { fakeGround, type Ground } from "./ground.ts";
import type { Kill, Orders } from "./orders.ts";
import { type Finding, prove } from "./prover.ts";
import type { Scenario } from "./scenarios.ts";

/** One life of a host: what happens, and when its daemon dies. */
export interface Course {
  scenario: Scenario;
  /** One death each, in this order. */
  kills: (Kill & { storeLost?: boolean })[];
  /** The daemon to run, see `buildFaultDaemon`. */
  program: string;
  /** Default: the fake one. */
  ground?: Ground;
  /** Changes the world before the daemon may die; what it does to the forge is over when a daemon has died. */
  trouble?: (host: Host) => void;
  /** Damage that is to be found: done when the last daemon has stopped, before the look at what is left. */
  sabotage?: (act: Act) => Promise<void>;
}

export interface Outcome {
  findings: Finding[];
  /** How many of the kills happened. */
  killed: number;
  /** Points that were passed, as `step point`; each once. */
  passed: Set<string>;
  /** Milliseconds from each start after a death to the next death, or to the moment at which nothing was left to do. */
  recovery: number[];
  /** All that the daemons wrote. */
  output: string;
}

const HOUSEKEEPING = 500;
/** A scenario that should have brought the death about by now goes on without it. */
const PATIENCE = 20_000;

/** Runs it to its end, and looks at what is left. Throws only where the world itself does not work. */
export async function runCourse(course: Course): Promise<Outcome> {
  const { scenario, kills } = course;
  const minIdle = scenario.minIdle ?? 0;
  const ground = course.ground ?? fakeGround;
  await using host = await ground.open(
    {
      // Looked at only when a scenario asks for it.
      forge: { timers: { zombieMs: 1, checkEveryMs: 3_600_000 } },
      command: (config) => [course.program, config, ordersFile(host), host.places.state, host.places.run],
    },
    { maxRunners: scenario.maxRunners ?? 4, minIdle },
  );
  const paths = { armed: join(host.directory, "armed"), trace: join(host.directory, "trace") };
  const recovery: number[] = [];
  let killed = 0;
  let armed = false;
  let began = 0;
  const order = (kill: Kill | undefined) => {
    const orders: Orders = { ...paths, housekeeping: HOUSEKEEPING, ...(kill === undefined ? {} : { kill }) };
    writeFileSync(ordersFile(host), JSON.stringify(orders));
  };
  order(kills[0]);
  let daemon: Daemon = await host.serving();
  const act = actOn(
    host,
    ground,
    () => daemon,
    () => armed,
    async (between) => {
      daemon.process.kill("SIGKILL");
      await daemon.exit;
      between();
      daemon = await host.serving();
    },
  );
  /** Starts the next daemon after a death of this one; says whether there was one. */
  const goOn = async (): Promise<boolean> => {
    if (!daemon.ended()) return false;
    const { signal } = await daemon.exit;
    if (signal !== "SIGKILL") return false;
    if (killed > recovery.length) recovery.push(performance.now() - began);
    if (kills[killed++]?.storeLost === true) loseStore(host.places);
    order(kills[killed]);
    began = performance.now();
    daemon = host.daemon();
    return true;
  };

  const has = (count: number, status: string) => async () =>
    (await daemon.runners()).filter((runner) => runner.status === status).length === count;
  await host.until("warm runners", has(minIdle, "idle"));
  await act.push({ held: "held" });
  await host.until("the held job runs", has(1, "busy"));
  await scenario.prepare?.(act);
  course.trouble?.(host);
  writeFileSync(paths.armed, "");
  armed = true;
  await scenario.provoke(act);

  const findings: Finding[] = [];
  const since = performance.now();
  const comeToRest = () =>
    host.until(
      "everything is done",
      async () => {
        if (daemon.ended() && !(await goOn())) throw new Error("the daemon ended by itself");
        const others = host.forge.jobs().filter(({ key }) => key !== "held");
        const over = others.length > 0 && others.every(({ status }) => isOver(status));
        scenario.goOn?.(act);
        if (killed > 0 || over || performance.now() - since > PATIENCE) {
          ground.letGo(host);
          host.forge.faults.clear();
        }
        return await isAtRest(host, daemon, minIdle, act);
      },
      ground.deadline,
    );
  try {
    do {
      await comeToRest();
      if (killed > recovery.length) recovery.push(performance.now() - began);
      daemon.process.kill("SIGTERM");
      await daemon.exit;
    } while (await goOn());
  } catch (error) {
    findings.push({ kind: "leak", what: String(error).split("\n")[0] ?? "" });
    daemon.process.kill("SIGKILL");
  }
  const { code } = await daemon.exit;
  if (code !== 0) findings.push({ kind: "leak", what: `the daemon ended with ${code}` });
  await course.sabotage?.(act);
  findings.push(...(await prove(host, ground, scenario.expected ?? {}, act.foreign)));
  const lines = existsSync(paths.trace) ? readFileSync(paths.trace, "utf8").trim().split("\n") : [];
  return {
    findings,
    killed,
    passed: new Set(lines.filter((line) => line !== "killed")),
    recovery,
    output: host.output(),
  };
}

const ordersFile = (host: Host) => join(host.directory, "orders.json");
const isOver = (status: string): boolean => !["waiting", "running", "blocked"].includes(status);

/** No job is open, no runner of ours is registered, and what is on the host is the warm runners that the daemon knows. */
async function isAtRest(host: Host, daemon: Daemon, minIdle: number, act: Act): Promise<boolean> {
  if (!host.forge.jobs().every(({ status }) => isOver(status))) return false;
  if (host.forge.runners("existing").some(({ name }) => !act.foreign.includes(name))) return false;
  const runners = await daemon.runners().catch(() => []);
  if (runners.length !== minIdle || runners.some(({ status }) => status !== "idle")) return false;
  const known = new Set(runners.map(({ id }) => id.slice(-24)));
  const { run, state } = host.places;
  const found = [...namesIn(join(run, "sandboxes")), ...namesIn(join(state, "disks")).filter(isOfSandbox)];
  // That there is no runner may also mean that nobody answered yet.
  return found.every((name) => known.has(name)) && (await answers(daemon));
}

/** Beside them lie the empty disks that they are clones of. */
const isOfSandbox = (name: string): boolean => !name.startsWith("pristine-");

const answers = async (daemon: Daemon): Promise<boolean> => {
  const answer = await daemon.call("GET", "/api/v1/pools").catch(() => undefined);
  return answer?.status === 200;
};
