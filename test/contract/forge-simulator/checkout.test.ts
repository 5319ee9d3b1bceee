import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";
import { Result } from "../../../gen/runner/v1/runner_pb.js";
import { HELLO, rig, runnerAt } from "./support.ts";

const run = promisify(execFile);
const gitEnvironment = { ...process.env, GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_NOSYSTEM: "1", HOME: "/nonexistent" };

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "fireteact-checkout-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A private repository with files, and the token of a job that runs in it. */
async function withJob(basePath = "") {
  const { forge, admin, get } = await rig({ basePath });
  await forge.addRepository("acme/secret", {
    private: true,
    files: { "README.md": "# secret\n", "bin/run": "#!/bin/sh\necho ran\n" },
  });
  const pushed = await forge.pushWorkflow({ repository: "acme/secret", yaml: HELLO });
  const runner = await runnerAt(forge);
  const task = await runner.fetch();
  return { forge, admin, get, pushed, runner, task, token: task?.secrets["GITEA_TOKEN"] ?? "" };
}

describe("checkout of a job's repository", () => {
  it.each(["", "/git"])("clones and fetches by commit over git's own protocol, base path %j", async (basePath) => {
    const { forge, pushed, token } = await withJob(basePath);
    const directory = await temporary();
    const header = `AUTHORIZATION: basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
    const git = (...args: string[]) =>
      run("git", ["-C", directory, "-c", `http.extraheader=${header}`, ...args], { env: gitEnvironment });
    await git("init", "--quiet");
    await git("remote", "add", "origin", `${forge.url}/acme/secret.git`);
    await git("fetch", "--quiet", "--depth=1", "origin", pushed.sha);
    await git("checkout", "--quiet", pushed.sha);
    expect(await readFile(join(directory, "README.md"), "utf8")).toBe("# secret\n");
    expect((await stat(join(directory, "bin/run"))).mode & 0o111).not.toBe(0);
  });

  it("asks for credentials and refuses a stranger, a finished job and writing", async () => {
    const { forge, runner, task, token } = await withJob();
    const refs = (headers: Record<string, string> = {}, service = "git-upload-pack") =>
      fetch(`${forge.url}/acme/secret.git/info/refs?service=${service}`, { headers });
    const anonymous = await refs();
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers.get("www-authenticate")).toContain("Basic");
    expect((await refs({ authorization: `token ${"0".repeat(40)}` })).status).toBe(401);
    expect((await refs({ authorization: `Bearer ${token}` })).status).toBe(200);
    expect((await refs({ authorization: `Bearer ${token}` }, "git-receive-pack")).status).toBe(403);
    await runner.report(task?.id ?? 0n, Result.SUCCESS);
    expect((await refs({ authorization: `Bearer ${token}` })).status).toBe(401);
  });

  it("sends archives by commit and by branch on both routes", async () => {
    const { forge, admin, pushed, token } = await withJob();
    const later = await forge.commit("acme/secret", { "README.md": "# later\n" });
    const directory = await temporary();
    const readme = async (url: string, authorization: string) => {
      const answer = await fetch(url, { headers: { authorization } });
      expect(answer.status).toBe(200);
      const file = join(directory, "archive.tar.gz");
      await writeFile(file, Buffer.from(await answer.arrayBuffer()));
      return (await run("tar", ["-xzOf", file, "secret/README.md"])).stdout;
    };
    expect(await readme(`${forge.url}/acme/secret/archive/${pushed.sha}.tar.gz`, `token ${token}`)).toBe("# secret\n");
    const api = `${forge.url}/api/v1/repos/acme/secret/archive`;
    expect(await readme(`${api}/main.tar.gz`, `token ${admin}`)).toBe("# later\n");
    expect(await readme(`${api}/${later}.tar.gz`, `token ${token}`)).toBe("# later\n");
    expect((await fetch(`${api}/nowhere.tar.gz`, { headers: { authorization: `token ${admin}` } })).status).toBe(404);
    expect((await fetch(`${api}/main.tar.gz`)).status).toBe(404);
  });

  it("leaves no files when it is closed, or when its process exits without that", async () => {
    const directory = await temporary();
    const simulator = new URL("../../../src/forge-simulator/simulator.ts", import.meta.url).href;
    const start = (ending: string) => `
      const { createForgeSimulator } = await import(${JSON.stringify(simulator)});
      const forge = await createForgeSimulator({ flavour: "gitea", version: "1.25.1" });
      await forge.addRepository("a/b", { files: { c: "d" } });
      const { readdirSync } = await import("node:fs");
      console.log(readdirSync(process.env.TMPDIR).length);
      ${ending}`;
    for (const ending of ["await forge.close();", "process.exit(0);"]) {
      const args = ["--input-type=module", "-e", start(ending)];
      const { stdout } = await run(process.execPath, args, { env: { ...gitEnvironment, TMPDIR: directory } });
      expect(stdout).toBe("1\n");
      expect(await readdir(directory)).toEqual([]);
    }
  });

  it("keeps one job out of another private repository", async () => {
    const { forge, token, get } = await withJob();
    await forge.addRepository("other/private", { private: true, files: { a: "b" } });
    expect((await get("/repos/other/private/actions/jobs", token)).status).toBe(404);
    expect((await get("/repos/acme/secret/actions/jobs", token)).status).toBe(200);
    expect((await get("/repos/acme/secret/actions/runners", token)).status).toBe(403);
    expect((await get("/admin/actions/jobs", token)).status).toBe(403);
  });
});
