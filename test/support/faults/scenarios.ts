import type { StepKind } from "../../../src/core/steps.ts";
import type { Act } from "./act.ts";
import type { Expected } from "./prover.ts";

/** Something that happens to a daemon, so that it carries out certain steps. */
export interface Scenario {
  title: string;
  minIdle?: number;
  expected?: Expected;
  /** Before the daemon may die. A held job runs already. */
  prepare?(act: Act): Promise<void>;
  /** Makes the step happen; the daemon may die at any moment of it. */
  provoke(act: Act): Promise<void>;
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
  prepare: async (act) => {
    act.host.forge.faults.add({ match: FETCH, fault: { kind: "slow", milliseconds: 3_000 }, times: 1 });
    await act.push({ late: 0.2 });
  },
  provoke: (act) => removal.provoke(act),
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
  deregister: jobs,
  close: jobs,
  drain: removal,
  keep: arrival,
  "sweep-sandbox": straySandbox,
  "sweep-row": strayRow,
};

/** Each once. */
export const ALL_SCENARIOS: readonly Scenario[] = [...new Set([jobs, warm, removal, arrival, straySandbox, strayRow])];
