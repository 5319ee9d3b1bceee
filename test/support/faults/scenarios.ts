import type { StepKind } from "../../../src/core/steps.ts";
import type { Act } from "./act.ts";
import type { Expected } from "./prover.ts";

/** Something that happens to a daemon, so that it carries out certain steps. */
export interface Scenario {
  title: string;
  minIdle?: number;
  maxRunners?: number;
  expected?: Expected;
  /** Before the daemon may die. A held job runs already. */
  prepare?(act: Act): Promise<void>;
  /** Makes the step happen; the daemon may die at any moment of it. */
  provoke(act: Act): Promise<void>;
  /** Again and again from then on, until everything is done. */
  goOn?(act: Act): void;
  /** What it expects is not to be had of a daemon whose store was lost. */
  needsStore?: boolean;
}

const FETCH = "POST /api/actions/runner.v1.RunnerService/FetchTask";

const jobs: Scenario = {
  title: "jobs come and end",
  provoke: (act) => act.push({ short: 0.2, other: 0.2 }),
};

const warm: Scenario = {
  title: "a job comes to a warm runner",
  minIdle: 1,
  prepare: async (act) => void (await act.runner("a warm runner", ({ status }) => status === "idle")),
  provoke: (act) => act.push({ short: 0.2 }),
};

const removal: Scenario = {
  title: "an operator removes a runner that waits for its job",
  prepare: async (act) => {
    act.host.forge.faults.add({ match: FETCH, fault: { kind: "status", status: 503 } });
    await act.push({ late: 0.2 });
  },
  provoke: async (act) => {
    const idle = await act.runner("a runner without its job", ({ status }) => status === "idle");
    if (idle !== undefined) await act.call("DELETE", `/api/v1/runners/${idle.id}`);
  },
};

const arrival: Scenario = {
  title: "a job arrives in the moment in which its runner is being removed",
  // Another runner would take it first.
  maxRunners: 2,
  prepare: async (act) => {
    act.host.forge.faults.add({ match: FETCH, fault: { kind: "slow", milliseconds: 3_000 }, times: 1 });
    await act.push({ late: 0.2 });
  },
  provoke: (act) => removal.provoke(act),
};

const death: Scenario = {
  title: "a sandbox dies under its job",
  expected: { doomed: "failure" },
  needsStore: true,
  prepare: async (act) => {
    await act.push({ doomed: 600 });
    await act.until("it runs", () => act.attempt("doomed")?.log.some(({ content }) => content !== "") ?? false);
  },
  provoke: async (act) => act.killSandbox("doomed"),
};

/** The reply to its first question for a job is lost: the forge shows the job as running, and its engine knows of none. */
const unheard: Scenario = {
  title: "a sandbox dies that does not know of its job",
  expected: { unheard: "timed-out" },
  needsStore: true,
  prepare: async (act) => {
    act.host.forge.faults.add({ match: FETCH, fault: { kind: "drop-reply" }, times: 1 });
    await act.push({ unheard: 600 });
    await act.until("the forge gave it out", () => act.attempt("unheard") !== undefined);
    const reads = () => act.host.forge.requests.counts()["GET /api/v1/admin/actions/jobs"] ?? 0;
    const before = reads();
    await act.until("the daemon has read so", () => reads() > before + 1);
  },
  provoke: async (act) => act.killSandbox("unheard"),
  goOn: (act) => {
    const { host } = act;
    const row = act.attempt("unheard")?.runner.name;
    const others = host.forge.jobs().filter(({ key }) => key !== "unheard");
    const isLast = others.every(({ status }) => status !== "running") && others.length > 0;
    if (isLast && host.forge.runners("existing").every(({ name }) => name !== row)) host.forge.runTimers();
  },
};

const straySandbox: Scenario = {
  title: "the store is lost, and with it all knowledge of a warm sandbox",
  minIdle: 1,
  prepare: async (act) => {
    await act.runner("a warm runner", ({ status }) => status === "idle");
    await act.startWithoutStore();
  },
  provoke: (act) => act.push({ short: 0.2 }),
};

const strayRow: Scenario = {
  title: "a row of this host that no record knows, beside one of another host",
  prepare: async (act) => {
    await act.plantRow("foreign");
    await act.plantRow("ours");
  },
  provoke: async () => undefined,
};

/** What brings each step about. A new step needs a scenario here before it compiles, and one that reaches all its points. */
export const SCENARIOS: { [K in StepKind]: Scenario } = {
  create: jobs,
  register: warm,
  boot: jobs,
  give: warm,
  withdraw: jobs,
  end: jobs,
  destroy: jobs,
  "fail-job": death,
  "leave-job": unheard,
  deregister: jobs,
  close: jobs,
  drain: removal,
  keep: arrival,
  "sweep-sandbox": straySandbox,
  "sweep-row": strayRow,
};

/** Each once. */
export const ALL_SCENARIOS: readonly Scenario[] = [
  ...new Set([jobs, warm, removal, arrival, death, unheard, straySandbox, strayRow]),
];
