import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, it } from "vitest";
import { runCourse } from "../support/faults/course.ts";
import { buildFaultDaemon } from "../support/faults/program.ts";

const HEX = "abcdef0123456789abcdef01";

let program = "";
beforeAll(async () => {
  program = await buildFaultDaemon();
});

describe.concurrent("the look at what is left", () => {
  it("finds every kind of thing that a sandbox may leave behind, and nothing else", async () => {
    const scenario = { title: "nothing happens", provoke: async () => undefined };
    const outcome = await runCourse({
      scenario,
      kills: [],
      program,
      sabotage: async (act) => {
        const { run, state } = act.host.places;
        await act.plantRow("ours");
        mkdirSync(join(state, "disks", HEX), { recursive: true });
        mkdirSync(join(run, "sandboxes", `.${HEX}.new`), { recursive: true });
        writeFileSync(join(run, "left.sock"), "");
        using database = new DatabaseSync(join(state, "state.db"));
        database.exec("INSERT INTO secrets VALUES ('runner', 'uuid', 'token')");
        const child = spawn("sleep", ["600"], { cwd: run, detached: true, stdio: "ignore" });
        await new Promise((resolve) => child.once("spawn", resolve));
        child.unref();
      },
    });
    expect(
      outcome.findings.map(({ kind, what }) => `${kind}: ${what.replaceAll(/\d{2,}|ft-\S+/g, "#")}`).toSorted(),
    ).toEqual([
      `leak: directory run/sandboxes/.${HEX}.new`.replaceAll(/\d{2,}/g, "#"),
      `leak: directory state/disks/${HEX}`.replaceAll(/\d{2,}/g, "#"),
      "leak: file run/left.sock",
      "leak: process #: sleep #",
      "leak: record in secrets: runner",
      "leak: row # in the forge",
    ]);
  });

  it("finds a job that was lost, and one that ran twice", async () => {
    const outcome = await runCourse({
      scenario: {
        title: "a job is run again",
        provoke: async (act) => {
          await act.push({ twice: 0.1, good: 0.1 });
          const job = () => act.host.forge.jobs().find(({ key }) => key === "twice");
          await act.until("it ran", () => job()?.status === "success");
          act.host.forge.rerunJob(job()?.id ?? 0);
        },
      },
      kills: [],
      program,
      sabotage: (act) => act.push({ lost: 0.1 }),
    });
    expect(outcome.findings.map(({ kind, what }) => `${kind}: ${what.replaceAll(/ft-\S+/g, "NAME")}`)).toEqual([
      "job: job twice had 2 attempts (NAME success, ended by runner; NAME success, ended by runner)",
      "job: job twice ran 2 times by its log",
      "job: job lost is waiting and not success",
      "job: job lost had 0 attempts ()",
      "job: job lost ran 0 times by its log",
    ]);
  });
});
