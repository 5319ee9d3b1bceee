import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { forgeWith, runJob, startEngine, until, workflowOf } from "./shell-world.ts";

describe("the shell engine", () => {
  it("runs a job and tells forge and agent", async () => {
    const forge = await forgeWith();
    const { code, engine, job, attempt, text } = await runJob(forge, workflowOf("- run: echo hello $FROM_WORKFLOW"));
    expect({ code, output: engine.output() }).toEqual({ code: 0, output: "" });
    expect(job?.status).toBe("success");
    expect(attempt?.logClosed).toBe(true);
    expect(text).toContain("\nhello workflow\n");
    expect(engine.kinds()).toEqual(["listening", "assigned", "first-step", "job-finished"]);
    expect(engine.events.find((event) => event.kind === "assigned")).toMatchObject({
      name: "main",
      repository: "acme/site",
    });
    expect(engine.events.at(-1)).toEqual({ kind: "job-finished", result: "success" });
    expect(forge.runners("existing")).toEqual([]);
    expect(existsSync(join(engine.workDir, ".runner"))).toBe(false);
  });

  it("ends with 0 when the job fails, and goes on only with steps that ask for it", async () => {
    const forge = await forgeWith();
    const steps = `
- { id: bad, continue-on-error: true, run: exit 1 }
- run: echo bad was \${{ steps.bad.outcome }} and counted as \${{ steps.bad.conclusion }}
- run: exit 3
- run: echo not reached
- { if: failure(), run: echo after failure }
- { if: "always() && steps.bad.outcome == 'failure'", run: echo always }
- { if: "\${{ success() }}", run: echo not reached }`;
    const { code, job, text } = await runJob(forge, workflowOf(steps));
    expect(code).toBe(0);
    expect(job?.status).toBe("failure");
    expect(text).toContain("\nbad was failure and counted as success\n");
    expect(text).toContain("Process completed with exit code 3.");
    expect(text).not.toContain("\nnot reached\n");
    expect(text).toContain("\nafter failure\n");
    expect(text).toContain("\nalways\n");
  });

  it("gives steps their environment, files, shells and expressions", async () => {
    const forge = await forgeWith();
    const steps = `
- id: one
  env: { OWN: "\${{ env.FROM_JOB }}-own" }
  run: |
    echo "env $FROM_WORKFLOW $FROM_JOB $OWN"
    echo "LATER=later" >> $GITHUB_ENV
    printf 'MANY<<END\\nfirst\\nsecond=2\\nEND\\n' >> $GITHUB_ENV
    echo "name=value with spaces" >> $GITHUB_OUTPUT
    echo "::set-output name=old::still works"
    mkdir -p tools sub && printf '#!/bin/sh\\necho from tool\\n' > tools/mytool && chmod +x tools/mytool
    echo "$PWD/tools" >> $GITHUB_PATH
    echo "GITHUB_SHA=forged" >> $GITHUB_ENV
- run: |
    echo "later $LATER, many $(echo "$MANY" | tr '\\n' '|')"
    echo "outputs \${{ steps.one.outputs.name }}, \${{ steps.one.outputs.old }}"
    mytool
    test "$GITHUB_SHA" = "\${{ github.sha }}" && echo "sha kept"
    echo "\${{ format('{0}-{1}', github.event_name, gitea.ref_name) }} \${{ vars.COLOUR }} \${{ runner.os }}"
    echo "\${{ contains(fromJSON('["a","b"]'), 'b') && 'yes' || 'no' }} \${{ toJSON(matrix) == '{}' }}"
    test "$(jq -r .ref "$GITHUB_EVENT_PATH" 2>/dev/null || grep -o refs/heads/main "$GITHUB_EVENT_PATH" | head -1)" = refs/heads/main && echo "event there"
    false | true && echo "no pipefail by default"
- { shell: bash, run: "false | true\\necho not reached", continue-on-error: true }
- { shell: sh, working-directory: sub, run: 'echo "in \${PWD##*/}"' }
- { shell: python, run: "import sys; print('python', sys.version_info[0])" }
- { shell: node, run: "console.log('node', typeof require)" }
- { shell: "perl {0}", run: 'print "perl runs\\n"' }
- { if: "env.LATER == 'later' && github.actor != ''", run: echo condition holds }
- { if: "env.LATER == 'nope'", run: echo not reached }`;
    const { job, text } = await runJob(forge, workflowOf(steps, "env: { FROM_JOB: job }"), {
      variables: { COLOUR: "blue" },
    });
    for (const line of [
      "env workflow job job-own",
      "later later, many first|second=2|",
      "outputs value with spaces, still works",
      "from tool",
      "::warning::A step may not set GITHUB_SHA for later steps.",
      "sha kept",
      "push-main blue Linux",
      "yes true",
      "event there",
      "no pipefail by default",
      "in sub",
      "python 3",
      "node function",
      "perl runs",
      "condition holds",
    ]) {
      expect(text).toContain(`\n${line}\n`);
    }
    expect(text.match(/^not reached$/gm)).toBeNull();
    expect(job?.status).toBe("success");
  });

  it("hands outputs to the jobs that need this one", async () => {
    const forge = await forgeWith();
    const yaml = `
on: push
jobs:
  first:
    runs-on: ubuntu
    outputs: { answer: "\${{ steps.it.outputs.answer }}", secret: "\${{ secrets.KEY }}" }
    steps:
      - { id: it, run: 'echo "answer=42" >> $GITHUB_OUTPUT' }
  second:
    runs-on: ubuntu
    needs: first
    steps:
      - run: echo "got \${{ needs.first.outputs.answer }} after \${{ needs.first.result }}, secret [\${{ needs.first.outputs.secret }}]"`;
    const run = await forge.pushWorkflow({ repository: "acme/site", yaml, secrets: { KEY: "do-not-pass" } });
    await (await startEngine(forge)).exited;
    expect(run.job("first").attempts[0]?.outputs).toEqual({ answer: "42" });
    await (await startEngine(forge)).exited;
    const log = run.job("second").attempts[0]?.log.map((line) => line.content);
    expect(log).toContain("got 42 after success, secret []");
    expect(await run.finished()).toEqual({ first: "success", second: "success" });
  });

  it("hides secrets in every form in which they are printed", async () => {
    const forge = await forgeWith();
    const key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----";
    const steps = `
- run: |
    echo "token is $TOKEN and \${{ secrets.TOKEN }}"
    echo "$KEY"
    printf '%s' "$TOKEN" | base64
    echo "::add-mask::computed-$((40 + 2))"
    echo "later computed-$((40 + 2)) shows"
    echo "job token \${{ github.token }}"
    head -c 65530 /dev/zero | tr '\\0' x; printf '%s' "$TOKEN"; head -c 70000 /dev/zero | tr '\\0' y; echo
    echo "::error file=a.sh::$TOKEN was wrong"
  env: { TOKEN: "\${{ secrets.TOKEN }}", KEY: "\${{ secrets.KEY }}" }`;
    const { text, job, engine } = await runJob(forge, workflowOf(steps), {
      secrets: { TOKEN: "hunter2-secret", KEY: key },
    });
    expect(job?.status).toBe("success");
    for (const secret of [
      "hunter2-secret",
      "MIIEvQ",
      "kqhkiG9w0BAQEF",
      "computed-42",
      Buffer.from("hunter2-secret").toString("base64"),
    ]) {
      // The text is long, and a failure should not print it.
      expect({ secret, told: text.includes(secret) }).toEqual({ secret, told: false });
      expect({ secret, told: JSON.stringify(engine.events).includes(secret) }).toEqual({ secret, told: false });
    }
    for (const line of [
      "token is *** and ***",
      "later *** shows",
      "job token ***",
      "::error file=a.sh::*** was wrong",
    ]) {
      expect({ line, told: text.includes(`\n${line}\n`) }).toEqual({ line, told: true });
    }
    expect(Math.max(...text.split("\n").map((line) => Buffer.byteLength(line)))).toBeLessThanOrEqual(64 * 1024);
  });

  it("shows commands, stops reading them when asked, and refuses the dangerous ones", async () => {
    const forge = await forgeWith();
    const steps = `
- run: |
    echo "::group::Some group"
    echo "::endgroup::"
    echo "::notice::seen"
    echo "::debug::hidden"
    echo "::set-env name=EVIL::1"
    echo "::stop-commands::word"
    echo "::add-mask::plain-word"
    echo "::word::"
    echo "plain-word is shown"
- run: echo "evil [$EVIL]"`;
    const { text } = await runJob(forge, workflowOf(steps));
    for (const line of ["::group::Some group", "::endgroup::", "::notice::seen", "plain-word is shown", "evil []"]) {
      expect(text).toContain(`\n${line}\n`);
    }
    expect(text).not.toMatch(/^::debug::hidden$/m);
    expect(text).toMatch(/::warning::The command set-env is no longer allowed/);
  });

  it("ends a job that is cancelled, with everything it started", async () => {
    const forge = await forgeWith();
    const steps = "- run: |\n    sleep 1000 &\n    echo started $!\n    trap '' TERM\n    wait; wait; sleep 1000";
    const run = await forge.pushWorkflow({ repository: "acme/site", yaml: workflowOf(steps) });
    const engine = await startEngine(forge);
    const log = (): string =>
      run
        .jobs()[0]
        ?.attempts[0]?.log.map((line) => line.content)
        .join("\n") ?? "";
    await until(() => /^started \d+$/m.test(log()), "the step's start");
    forge.cancelRun(run.id);
    expect(await engine.exited).toBe(0);
    expect(engine.events.at(-1)).toEqual({ kind: "job-finished", result: "cancelled" });
    const pid = Number(/^started (\d+)$/m.exec(log())?.[1]);
    await until(() => !existsSync(`/proc/${pid}/exe`), "the end of the background program");
  }, 30_000);

  it("ends when the forge has forgotten the runner and the job with it", async () => {
    const forge = await forgeWith({ behaviours: { rowGoneAtCancel: true } });
    const run = await forge.pushWorkflow({
      repository: "acme/site",
      yaml: workflowOf("- run: echo started; sleep 1000"),
    });
    const engine = await startEngine(forge);
    await until(() => engine.kinds().includes("first-step"), "the first step");
    forge.cancelRun(run.id);
    expect(await engine.exited).toBe(0);
    expect(engine.events.at(-1)).toMatchObject({ kind: "job-finished", result: "cancelled" });
  }, 30_000);

  it("ends steps and jobs that take too long", async () => {
    const forge = await forgeWith();
    const steps = `
- { id: slow, continue-on-error: true, timeout-minutes: 0.01, run: sleep 100 }
- run: echo "slow was \${{ steps.slow.outcome }}"
- run: sleep 100
- { if: always(), run: echo cleaned up }`;
    const { code, job, text } = await runJob(forge, workflowOf(steps), { jobLimit: 4_000 });
    expect(code).toBe(0);
    expect(job?.status).toBe("failure");
    expect(text).toContain("::error::The step took longer than 0.01 minutes.");
    expect(text).toContain("\nslow was failure\n");
    expect(text).toContain("::error::The job took longer than its limit of 4 seconds.");
    expect(text).toContain("\ncleaned up\n");
  }, 30_000);

  it("takes no job once it is drained, and finishes the one that it has", async () => {
    const forge = await forgeWith();
    const idle = await startEngine(forge);
    await until(() => idle.kinds().includes("listening"), "listening");
    idle.process.kill("SIGTERM");
    expect(await idle.exited).toBe(0);
    expect(idle.kinds()).toEqual(["listening", "drained"]);

    const run = await forge.pushWorkflow({ repository: "acme/site", yaml: workflowOf("- run: sleep 1; echo done") });
    const busy = await startEngine(forge);
    await until(() => busy.kinds().includes("first-step"), "the first step");
    busy.process.kill("SIGTERM");
    expect(await busy.exited).toBe(0);
    expect(await run.finished()).toEqual({ main: "success" });

    const cancelled = await forge.pushWorkflow({ repository: "acme/site", yaml: workflowOf("- run: sleep 100") });
    const ended = await startEngine(forge);
    await until(() => ended.kinds().includes("first-step"), "the first step");
    ended.process.kill("SIGINT");
    expect(await ended.exited).toBe(0);
    expect(await cancelled.finished()).toEqual({ main: "cancelled" });
  }, 30_000);

  it("refuses what it cannot do, by name, before anything runs", async () => {
    const forge = await forgeWith();
    const cases = {
      'step 2 "Node" uses actions/setup-node@v4': "- run: echo early\n- { name: Node, uses: actions/setup-node@v4 }",
      "checks out acme/other": "- { uses: actions/checkout@v4, with: { repository: acme/other } }",
      "sets submodules": "- { uses: actions/checkout@v4, with: { submodules: recursive } }",
    };
    for (const [message, steps] of Object.entries(cases)) {
      const { code, job, text } = await runJob(forge, workflowOf(steps));
      expect(code).toBe(0);
      expect(job?.status).toBe("failure");
      expect(text).toContain(message);
      expect(text).toMatch(/engine gitea-runner or forgejo-runner/);
      expect(text).not.toMatch(/^early$/m);
    }
    const { text } = await runJob(forge, workflowOf("- run: echo early", "container: debian:12"));
    expect(text).toContain("the job asks for a container");
  }, 30_000);

  it("ends with 1 where the forge does not know the runner", async () => {
    const forge = await forgeWith();
    const engine = await startEngine(forge);
    await until(() => engine.kinds().includes("listening"), "listening");
    for (const runner of forge.runners("existing")) forge.deleteRunner(runner.id);
    expect(await engine.exited).toBe(1);
    expect(engine.output()).toContain("does not know this runner");
  });
});

describe("a checkout", () => {
  const files = { "README.md": "# private\n", "bin/run": "#!/bin/sh\necho ran from checkout\n" };

  it.each(["", "/git"])("brings the job's commit and leaves no credentials (base path %j)", async (basePath) => {
    const forge = await forgeWith({ basePath }, { private: true, files });
    const steps = `
- uses: https://github.com/actions/checkout@v4
- run: |
    bin/run
    git log --oneline | wc -l
    test "$(git rev-parse HEAD)" = "$GITHUB_SHA" && echo "right commit"
    git rev-parse --abbrev-ref HEAD
    git config --list --show-origin | grep -ci -e extraheader -e authorization || true
    env | grep -c GIT_CONFIG || true
- { uses: actions/checkout@v4, with: { path: again, fetch-depth: 0, ref: main } }
- run: cat again/README.md; git -C again branch -r | tr -d ' '`;
    const { job, text } = await runJob(forge, workflowOf(steps));
    expect(text).toContain("\nran from checkout\n1\nright commit\nmain\n0\n0\n");
    expect(text).toContain("\n# private\norigin/main\n");
    const remotes = [...text.matchAll(/remote add origin (\S+)/g)].map(([, url]) => url?.slice(forge.url.length));
    expect(remotes).toEqual([expect.stringMatching(/^\/\w+\/\w+\.git$/), remotes[0]]);
    expect(job?.status).toBe("success");
  });

  it("says what went wrong when there is no such ref", async () => {
    const forge = await forgeWith({}, { private: true, files });
    const { job, text } = await runJob(
      forge,
      workflowOf("- { uses: actions/checkout@v4, with: { ref: no-such-branch } }"),
    );
    expect(job?.status).toBe("failure");
    expect(text).toMatch(/couldn't find remote ref no-such-branch/);
  });
});
