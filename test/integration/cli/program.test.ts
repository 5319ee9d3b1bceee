import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ForgeSimulator } from "../../../src/forge-simulator/simulator.ts";
import { FAKE_POOL, giteaWithRepository, temporaryDirectory } from "../../support/orchestrator.ts";
import { buildProgram, type Outcome } from "./daemon.ts";

const COMMANDS = [
  "demo",
  "serve",
  "doctor",
  "config",
  "image",
  "store",
  "pools",
  "runners",
  "jobs",
  "logs",
  "drain",
  "version",
];
const program = buildProgram();
const { fireteact } = program;
afterAll(() => program[Symbol.dispose]());

const linesOver80 = (text: string) => text.split("\n").filter((line) => line.length > 80);
const json = ({ stdout }: Outcome): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

describe("the command line alone", () => {
  it("explains itself within 80 columns", async () => {
    const help = await fireteact("--help");
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(linesOver80(help.stdout)).toEqual([]);
    for (const command of COMMANDS) expect(help.stdout).toMatch(new RegExp(`^  ${command}  `, "m"));
    expect(help.stdout).toContain("Exit codes:");
  });

  it.each(COMMANDS)("explains %s", async (command) => {
    const help = await fireteact(command, "--help");
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toContain(`Usage: fireteact ${command}`);
    expect(help.stdout).toContain("--json");
    // Examples are to be copied, and not broken.
    expect(linesOver80(help.stdout.split("\nExamples:")[0] ?? "")).toEqual([]);
  });

  it("prints its version", async () => {
    const { stdout, code } = await fireteact("--version");
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+ \(\w+, \d{4}-\d\d-\d\d\)\n$/)]);
    expect(`${String(json(await fireteact("version", "--json"))["version"])} `).toBe(
      stdout.slice(0, stdout.indexOf("(")),
    );
  });

  it("hands the words after runner to the agent", async () => {
    const help = await fireteact("runner", "--help");
    expect(help.stdout).toContain("--retry-wait");
    const wrong = await fireteact("runner", "--retry-wait=never");
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("fireteact runner:");
  });

  it.each([
    [["sevre"], "unknown command 'sevre'", "did you mean serve?"],
    [["pools", "--jsn"], "unknown option '--jsn'", "did you mean --json?"],
    [["pools", "puase", "x"], "unknown action 'puase'", "did you mean pause?"],
    [["pools", "pause"], "pause which pool?", "fireteact pools pause NAME"],
    [["store", "backup"], "back up to which file?", "fireteact store backup FILE"],
    [["runners", "stop"], "stop which runner?", "fireteact runners stop ID"],
    [["logs"], "missing required argument 'runner'", "'fireteact logs --help' has more"],
    [["pools", "--token-file", "/nonexistent"], "/nonexistent does not exist", "check that the file exists"],
  ])("refuses %j and says what was meant", async (args, message, hint) => {
    const { code, stdout, stderr } = await fireteact(...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(`fireteact: ${message}`);
    expect(stderr).toContain(`  > ${hint}`);
    const machine = await fireteact(...args, "--json");
    expect([machine.code, machine.stderr]).toEqual([2, ""]);
    expect(json(machine)["error"]).toMatchObject({ message: expect.stringContaining(message) });
  });

  it.each(["pools", "runners", "jobs", "drain"])("%s says that no daemon answers", async (command) => {
    const { code, stderr } = await fireteact(command);
    expect(code).toBe(3);
    expect(stderr).toContain("no daemon answers at");
    expect(stderr).toContain("fireteact serve");
  });

  it("checks configurations, with places", async () => {
    const file = join(program.directory, "wrong.yaml");
    writeFileSync(
      file,
      "gitea:\n  instanceURL: https://git.test\n  apiToken: t\npools:\n  - name: a\n    driver: qume\n",
    );
    const wrong = await fireteact("config", "check", file);
    expect(wrong.code).toBe(2);
    expect(wrong.stdout).toContain(`${file}:6:`);
    const machine = json(await fireteact("config", "check", file, "--json"));
    expect(machine["problems"]).toEqual(
      expect.arrayContaining([expect.objectContaining({ key: "pools[0].driver", line: 6 })]),
    );
    expect(await fireteact("config", "check", "/none.yaml")).toMatchObject({
      code: 2,
      stdout: expect.stringContaining("/none.yaml: error: does not exist"),
    });
    expect((await fireteact("serve", "-c", file)).code).toBe(2);
    expect(json(await fireteact("config", "schema"))).toHaveProperty("properties");
  });

  it("says by doctor's exit code whether all is well", async () => {
    const { code, stdout } = await fireteact("doctor", "-c", "/none.yaml");
    expect(code).toBe(1);
    expect(stdout).toMatch(/^BAD {6}configuration: \/none\.yaml does not exist$/m);
    expect(linesOver80(stdout)).toEqual([]);
    expect(json(await fireteact("doctor", "-c", "/none.yaml", "--json"))["findings"]).toContainEqual(
      expect.objectContaining({ subject: "configuration", state: "bad" }),
    );
  });
});

describe("with a daemon", () => {
  let forge: ForgeSimulator;
  let daemon: Awaited<ReturnType<typeof program.startDaemon>>;
  beforeAll(async () => {
    const made = await giteaWithRepository();
    forge = made.forge;
    daemon = await program.startDaemon(forge, made.token, FAKE_POOL);
  });
  afterAll(async () => {
    await daemon.stop();
    await forge.close();
  });

  const push = (run: string) =>
    forge.pushWorkflow({
      repository: "org/app",
      yaml: `on: push\njobs:\n  build:\n    runs-on: linux\n    steps:\n      - run: |\n          ${run}\n`,
    });
  const busyRunner = async (): Promise<string> => {
    for (let tries = 0; tries < 100; tries++) {
      const { runners } = json(await fireteact("runners", "--json")) as { runners: { id: string; status: string }[] };
      const busy = runners.find(({ status }) => status === "busy");
      if (busy !== undefined) return busy.id;
      await sleep(50);
    }
    throw new Error(`no runner took the job:\n${daemon.log()}`);
  };

  it("follows a job, and keeps its log and its way when the runner is gone", async () => {
    const run = await push(String.raw`printf 'hello \033]0;title\007\033[31mred\n'; sleep 2`);
    const id = await busyRunner();
    expect((await fireteact("runners")).stdout).toMatch(
      new RegExp(`^${id} +busy +\\S+ +[\\d.]+ m?s +build of org/app$`, "m"),
    );
    expect((await fireteact("pools")).stdout).toMatch(/^default +fake +1 of 10 +1 +0 +active$/m);
    const refused = await fireteact("runners", "stop", id);
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining("--force")]);
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ build: "success" });

    let history = "";
    for (let tries = 0; tries < 100 && !history.includes(id); tries++) {
      history = (await fireteact("runners", "history")).stdout;
    }
    expect(history).toMatch(new RegExp(`^${id} +success .* build of org/app$`, "m"));
    expect((await fireteact("runners")).stdout).toContain("there are no runners now");
    const shown = (await fireteact("runners", "show", id)).stdout;
    for (const phase of ["registered", "first_step", "destroyed"]) expect(shown).toMatch(new RegExp(`^${phase} `, "m"));
    const logs = await fireteact("logs", id);
    expect(logs.stdout).toContain("hello red");
    expect(logs.stdout, "the job does not steer the terminal").not.toMatch(/[^\P{Cc}\n\t]/u);
    expect(json(await fireteact("logs", id, "--json"))["engine"]).toContain("hello ");
    for (const text of [history, shown]) expect(linesOver80(text)).toEqual([]);

    using copies = temporaryDirectory();
    const copied = await fireteact("store", "backup", join(copies.path, "copy.db"));
    expect([copied.code, copied.stdout]).toEqual([
      0,
      expect.stringMatching(/copy\.db: 0 runners and 1 of the history$/m),
    ]);
    const again = await fireteact("store", "backup", join(copies.path, "copy.db"), "--json");
    expect([again.code, json(again)["error"]]).toEqual([1, expect.objectContaining({ code: "FILE_EXISTS" })]);
  });

  it("ends a runner by force, and tells an unknown one", async () => {
    const run = await push("sleep 600");
    const id = await busyRunner();
    expect(await fireteact("runners", "stop", id, "--force")).toMatchObject({ code: 0 });
    expect((await fireteact("runners", "show", id)).stdout).toContain("forced");
    forge.cancelRun(run.id);
    expect(await fireteact("runners", "stop", "nobody")).toMatchObject({ code: 4 });
    expect(await fireteact("logs", "nobody")).toMatchObject({ code: 4 });
    expect(await fireteact("pools", "pause", "nobody")).toMatchObject({ code: 4 });
  });

  it("pauses a pool, says why a job waits, and goes on", async () => {
    expect((await fireteact("pools", "pause", "default")).stdout).toMatch(/ paused$/m);
    const run = await push("true");
    let waiting = "";
    for (let tries = 0; tries < 100 && !waiting.includes("paused"); tries++) {
      waiting = (await fireteact("jobs")).stdout;
    }
    expect(waiting).toMatch(/^build of org\/app, runs-on linux, waits /m);
    expect(waiting).toContain("paused");
    expect((await fireteact("pools", "resume", "default")).stdout).toMatch(/ active$/m);
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ build: "success" });
  });

  it("finds the daemon healthy by doctor, and refuses a second one", async () => {
    const { findings } = json(await fireteact("doctor", "-c", daemon.file, "--json")) as {
      findings: { subject: string; state: string }[];
    };
    expect(findings.find(({ subject }) => subject === "daemon")).toMatchObject({ state: "good" });
    const second = await fireteact("serve", "-c", daemon.file);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain("another fireteact");
  });

  it("drains: a job that runs goes on to its end, no other begins, and the daemon ends well", async () => {
    const run = await push("sleep 3");
    await busyRunner();
    expect(await fireteact("drain")).toMatchObject({ code: 0, stdout: expect.stringContaining("draining") });
    const late = await push("true");
    expect(await run.finished(AbortSignal.timeout(20_000))).toEqual({ build: "success" });
    expect(late.job("build").attempts).toEqual([]);
    expect(await daemon.ended).toBe(0);
    expect(daemon.log()).not.toContain("api-token");
    expect((await fireteact("pools")).code).toBe(3);
    expect(forge.runners("existing")).toEqual([]);
  });
});
