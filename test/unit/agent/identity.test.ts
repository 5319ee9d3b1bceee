import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { engineConfigContent, hasContent, writeFileAs } from "../../../src/agent/files.ts";
import { commandAs, engineEnvironment, findIdentity, type Identity } from "../../../src/agent/identity.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { runnerFileContent } from "../../../src/runner-rpc/runner-file.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "agent-identity-"));
  mkdirSync(join(root, "etc"));
  writeFileSync(
    join(root, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nrunner:x:1001:1002::/home/runner:/bin/bash\n",
  );
  writeFileSync(join(root, "etc/group"), "docker:x:998:runner\n");
});
afterEach(() => rmSync(root, { recursive: true }));

const lookUp = (group: string, uid = 0): Identity =>
  findIdentity({ owner: "runner", group, log: silentLogger, root, uid });
const self: Identity = { user: "me", uid: 1, gid: 1, home: "/home/me", switches: false };

describe("the engine's identity", () => {
  it("is the owner with the group, or with the owner's own where there is no such group", () => {
    expect(lookUp("docker")).toEqual({ user: "runner", uid: 1001, gid: 998, home: "/home/runner", switches: true });
    expect(lookUp("nobody-has-this").gid).toBe(1002);
    expect(() => findIdentity({ owner: "ghost", group: "x", log: silentLogger, root, uid: 0 })).toThrow(/ghost/);
  });

  it("is the agent's own where the agent is not root", () => {
    expect(lookUp("docker", 1001)).toMatchObject({ user: "runner", uid: 1001, switches: false });
    expect(commandAs(self, ["true"], silentLogger)).toEqual({ command: ["true"] });
  });

  it("keeps the supplementary groups", () => {
    const { command } = commandAs(lookUp("docker"), ["engine", "--flag"], silentLogger);
    expect(command.slice(1)).toEqual(["--reuid=1001", "--regid=998", "--init-groups", "--", "engine", "--flag"]);
  });

  it("has the original's environment and the image's, and nothing of the agent's", () => {
    writeFileSync(join(root, "environment"), "# proxies\nHTTP_PROXY=http://proxy:3128\nbroken line\nEMPTY=\n");
    process.env["AGENT_SECRET"] = "x";
    const environment = engineEnvironment(self, join(root, "environment"));
    delete process.env["AGENT_SECRET"];
    expect(Object.keys(environment).sort()).toEqual(["DOCKER_HOST", "EMPTY", "HOME", "HTTP_PROXY", "PATH", "USER"]);
    expect(environment).toMatchObject({ HOME: "/home/me", USER: "me", HTTP_PROXY: "http://proxy:3128" });
    expect(environment["PATH"]?.split(":")).toContain("/usr/local/bin");
  });
});

describe("the engine's files", () => {
  it("are the runner's registration as the published runners read it", async () => {
    const credentials = { row: "12", uuid: "u", token: "t", address: "http://f", labels: ["a:host"], ephemeral: true };
    const path = join(root, "work/deep/.runner");
    await writeFileAs(path, runnerFileContent({ name: "name", ...credentials }), 0o600, self);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
      id: 12,
      uuid: "u",
      name: "name",
      token: "t",
      address: "http://f",
      labels: ["a:host"],
      ephemeral: true,
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await hasContent(path)).toBe(true);
    expect(await hasContent(join(root, "nothing"))).toBe(false);
  });

  it("are a configuration with the limit that lets a job end", () => {
    const config = parse(engineConfigContent({ workDir: "/w", runnerFile: "/w/.runner", timeout: 90_500 }));
    expect(config.runner).toMatchObject({ file: "/w/.runner", capacity: 1, timeout: "91s", shutdown_timeout: "91s" });
    expect(config.cache).toEqual({ enabled: true, dir: "/w/cache" });
  });
});
