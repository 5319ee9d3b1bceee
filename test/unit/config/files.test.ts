import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FireteactError } from "../../../src/base/errors.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { openSecret } from "../../../src/config/secret.ts";
import { caught, errorsOf, FORGE, load, POOL, warningsOf, workspace } from "./workspace.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
const withTokenFile = (path: string) => `gitea: {instanceURL: https://g, apiTokenFile: ${path}}\n${POOL}`;

describe("a secret's file", () => {
  it("is trimmed, and read again when it changed, at once", () => {
    const file = join(workspace({ token: "\n one \r\n" }), "token");
    const secret = openSecret({ kind: "file", path: file });
    expect(secret.read()).toBe("one");
    writeFileSync(file, "two\n");
    expect(secret.read()).toBe("two");
    writeFileSync(`${file}.new`, "three");
    renameSync(`${file}.new`, file);
    expect(secret.read()).toBe("three");
  });

  it("need not be there for an inline secret", () => {
    expect(openSecret({ kind: "inline", value: "t" }).read()).toBe("t");
  });

  const broken: [name: string, prepare: (file: string) => void, code: string, message: RegExp][] = [
    ["missing", () => undefined, "SECRET_UNREADABLE", /token does not exist$/],
    ["empty", (file) => writeFileSync(file, " \n"), "SECRET_INVALID", /token is empty$/],
    [
      "several lines",
      (file) => writeFileSync(file, "hidden\nlines\n"),
      "SECRET_INVALID",
      /token holds more than one line of text$/,
    ],
    [
      "large",
      (file) => writeFileSync(file, "x".repeat(70_000)),
      "SECRET_INVALID",
      /token has 70000 bytes; a secret has at most 65536$/,
    ],
    ["a directory", (file) => mkdirSync(file), "SECRET_INVALID", /token is not a regular file$/],
    [
      "a pipe without writer",
      (file) => execFileSync("/usr/bin/mkfifo", [file]),
      "SECRET_INVALID",
      /token is not a regular file$/,
    ],
  ];
  it.each(broken)("says what is wrong with it: %s", (_, prepare, code, message) => {
    const directory = workspace();
    prepare(join(directory, "token"));
    const error = errorOf(() => openSecret({ kind: "file", path: join(directory, "token") }).read());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("hidden");
  });

  it("says so when it may not be read", () => {
    const file = join(workspace({ token: "t" }), "token");
    chmodSync(file, 0);
    const message = asNobody(() => errorOf(() => openSecret({ kind: "file", path: file }).read()).message);
    expect(message).toBe(`${file} may not be read by this user`);
  });
});

describe("files that the configuration names", () => {
  it("are found beside it when their path is relative", () => {
    const directory = workspace({ "c.yaml": withTokenFile("./token"), token: "t" });
    expect(loadConfig(join(directory, "c.yaml"), {}).settings.targets[0]?.token).toEqual({
      kind: "file",
      path: join(directory, "token"),
    });
  });

  it("must be there", () => {
    const content = `gitea: {instanceURL: https://g, apiTokenFile: ./a, caFile: ./b}
pools: [{name: a, driver: fake, forge: {scope: org, owner: o, apiTokenFile: ./c}, runner: {labels: [x]}}, {name: b, driver: fake, runner: {labels: [x]}}]
server: {tokenFile: ./d}
webhook: {secretFile: ./e}
guest: {caFiles: [./f]}
`;
    expect(errorsOf(content)).toEqual(
      [
        'c.yaml:1:47: gitea.apiTokenFile: "a" does not exist',
        'c.yaml:1:60: gitea.caFile: "b" does not exist',
        'c.yaml:2:77: pools[0].forge.apiTokenFile: "c" does not exist',
        'c.yaml:3:21: server.tokenFile: "d" does not exist',
        'c.yaml:4:23: webhook.secretFile: "e" does not exist',
        'c.yaml:5:19: guest.caFiles[0]: "f" does not exist',
      ].map((line) =>
        expect.stringMatching(new RegExp(`^${line.replace(/"(\w)"/, '"?$1"?').replaceAll(/[[\].]/g, "\\$&")}$`)),
      ),
    );
  });

  it("must hold certificates where those are wanted", () => {
    const directory = workspace({
      "c.yaml": `${FORGE.replace("}", ", caFile: ./ca.pem}")}${POOL}`,
      token: "t",
      "ca.pem": PEM,
    });
    expect(loadConfig(join(directory, "c.yaml"), {}).settings.targets[0]?.caFile).toBe(join(directory, "ca.pem"));
    writeFileSync(join(directory, "ca.pem"), "nothing");
    expect(caught(() => loadConfig(join(directory, "c.yaml"), {})).problems[0]?.message).toMatch(
      / holds no PEM certificate/,
    );
  });

  it("should not be readable for everyone", () => {
    const directory = workspace({ "c.yaml": withTokenFile("./token"), token: "t" });
    chmodSync(join(directory, "token"), 0o644);
    const { warnings } = loadConfig(join(directory, "c.yaml"), {});
    expect(warnings.map((warning) => warning.message)).toEqual([
      expect.stringMatching(/^every user of this machine can read ".*"; chmod 600 it$/),
    ]);
  });

  it("should not hold the token itself when they are readable for everyone", () => {
    const directory = workspace({ "c.yaml": `gitea: {instanceURL: https://g, apiToken: t}\n${POOL}` });
    chmodSync(join(directory, "c.yaml"), 0o644);
    expect(loadConfig(join(directory, "c.yaml"), {}).warnings[0]?.message).toMatch(
      /^every user of this machine can read the token in this file/,
    );
  });

  it("are not read when the token stands inline", () => {
    expect(warningsOf(`gitea: {instanceURL: https://g, apiToken: t, apiTokenFile: ./nowhere}\n${POOL}`)).toEqual([
      "c.yaml:1:60: gitea.apiTokenFile: not used, since apiToken is set; remove one of them",
    ]);
  });
});

describe("the configuration file itself", () => {
  it("must be there", () => {
    const file = join(workspace(), "c.yaml");
    expect(caught(() => loadConfig(file, {})).problems).toEqual([{ file, key: "", message: "does not exist" }]);
  });
  it("must be a file", () => {
    expect(caught(() => loadConfig(workspace(), {})).problems[0]?.message).toBe("is a directory");
  });
  it("has a largest size", () => {
    expect(errorsOf(Buffer.alloc(16 * 1024 * 1024 + 1, "#"))).toEqual([
      "c.yaml: has 16777217 bytes; a configuration has at most 16777216",
    ]);
  });
});

describe("no secret is ever shown", () => {
  const secret = "hunter2";
  it.each([
    ["a token of two words", `gitea: {instanceURL: https://g, apiToken: "${secret} x"}\n${POOL}`],
    ["a token with a dollar", `gitea: {instanceURL: https://g, apiToken: "a$${secret}"}\n${POOL}`],
    ["a list as token", `gitea: {instanceURL: https://g, apiToken: [${secret}]}\n${POOL}`],
    ["a token where its file belongs", withTokenFile(secret)],
    ["a token of many lines where its file belongs", withTokenFile(`"${secret}\\n${secret}"`)],
    ["a password in the forge's address", `gitea: {instanceURL: "https://u:${secret}@g", apiToken: t}\n${POOL}`],
    ["a dollar in such a password", `gitea: {instanceURL: "https://u:$${secret}@g", apiToken: t}\n${POOL}`],
    [
      "a password in a wrong proxy",
      `gitea: {instanceURL: https://g, apiToken: t, proxy: "ftp://u:${secret}@p"}\n${POOL}`,
    ],
    ["a wrong guest environment", `${FORGE}${POOL}guest: {env: {A: [${secret}]}}\n`],
    ["an unknown key's value", `${FORGE}${POOL}apiTokn: ${secret}\n`],
    ["broken YAML", `gitea: {apiToken: "${secret}" ${secret}\n`],
  ])("%s", (_, content) => {
    const error = caught(() => load(content));
    expect(JSON.stringify([error.message, error.hint, error.facts, error.problems, error.warnings])).not.toContain(
      secret,
    );
  });
});

function errorOf(action: () => unknown): FireteactError {
  try {
    action();
  } catch (error) {
    if (error instanceof FireteactError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** Root may read everything, so the tests of refused access run as somebody else. */
function asNobody<T>(action: () => T): T {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.(65_534);
  try {
    return action();
  } finally {
    process.seteuid?.(0);
  }
}
