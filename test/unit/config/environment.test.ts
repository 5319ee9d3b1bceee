import { describe, expect, it } from "vitest";
import { errorsOf, FORGE, load, POOL } from "./workspace.ts";

const withToken = (text: string) => `gitea:\n  instanceURL: https://g\n  apiToken: ${text}\n${POOL}`;
const tokenOf = (text: string, env: NodeJS.ProcessEnv) => load(withToken(text), env).settings.targets[0]?.token;

describe("environment variables", () => {
  it.each(["${TOKEN}", '"${TOKEN}"', "'${TOKEN}'"])("are replaced in %s", (text) => {
    expect(tokenOf(text, { TOKEN: "abc" })).toEqual({ kind: "inline", value: "abc" });
  });

  it("are replaced inside of a text, several times", () => {
    const content = `gitea: {instanceURL: "https://\${HOST}/\${PATH_OF}", apiToken: t}\n${POOL}`;
    expect(load(content, { HOST: "g", PATH_OF: "sub" }).settings.targets[0]?.url).toBe("https://g/sub");
  });

  it("may hold numbers", () => {
    const content = `${FORGE}pools:\n  - name: a\n    driver: fake\n    maxRunners: \${MAX}\n`;
    expect(load(content, { MAX: "7" }).settings.pools[0]?.maxRunners).toBe(7);
    expect(errorsOf(content, { MAX: "many" })).toEqual([
      'c.yaml:5:17: pools[0].maxRunners: must be a whole number, found "many"',
    ]);
  });

  it("are texts where a text is wanted", () => {
    expect(tokenOf("${TOKEN}", { TOKEN: "0123" })).toEqual({ kind: "inline", value: "0123" });
  });

  it("are data, never YAML or further variables", () => {
    expect(tokenOf("${TOKEN}", { TOKEN: "a:#,}${X}$" })).toEqual({ kind: "inline", value: "a:#,}${X}$" });
  });

  it("count as not set when they are empty", () => {
    expect(errorsOf(withToken("${TOKEN}"), { TOKEN: "" })).toEqual([
      "c.yaml:1:1: gitea.apiTokenFile: missing: a file with the API token (or apiToken with the token itself)",
    ]);
  });

  it("write a dollar with two", () => {
    expect(tokenOf("a$$b$${X}", {})).toEqual({ kind: "inline", value: "a$b${X}" });
  });

  it.each([
    ["image: ${NOPE}", "the environment variable NOPE is not set"],
    ["image: a-$NOPE", "a variable is written with braces: ${NOPE} instead of $NOPE (a dollar sign itself is $$)"],
    ["image: a$", "a dollar sign must be written as $$, or start a variable as in ${NAME}"],
    ["image: a$1", "a dollar sign must be written as $$, or start a variable as in ${NAME}"],
    ['image: "${A:-b}"', "between ${ and } there must be the name of an environment variable, and nothing else"],
    ['image: "${A"', "a dollar sign must be written as $$, or start a variable as in ${NAME}"],
  ])("are refused in %s", (image, message) => {
    const content = `${FORGE}pools:\n  - name: a\n    driver: qemu\n    runner:\n      ${image}\n`;
    expect(errorsOf(content)).toEqual([`c.yaml:6:14: pools[0].runner.image: ${message}`]);
  });

  it("are all reported that are not set", () => {
    expect(errorsOf(withToken('"${A}${B}"'))).toEqual([
      "c.yaml:3:13: gitea.apiToken: the environment variable A is not set",
      "c.yaml:3:13: gitea.apiToken: the environment variable B is not set",
    ]);
  });

  it("need quotes inside of braces", () => {
    expect(errorsOf("gitea: {apiToken: ${TOKEN}}\n", { TOKEN: "t" })).toEqual([
      "c.yaml:1:20: not valid YAML: a ${NAME} inside of braces or brackets needs quotes",
    ]);
  });

  it("are left alone in a guest's metadata, comments and keys", () => {
    const script = '#!/bin/sh\necho "$RUNNER_ID" ${HOME} $$\n';
    const content = `# $COMMENT\ngitea: {instanceURL: https://g, apiToken: t}
pools:
  - name: a
    runner: {image: i, labels: [x]}
    firecracker:
      metadata:
        empty: ""
        none: null
        deep: [1, {x: "$A"}]
        user-data: |
${script.replaceAll(/^/gm, "          ").trimEnd()}
`;
    expect(load(content).settings.pools[0]?.firecracker?.metadata).toEqual({
      empty: "",
      none: null,
      deep: [1, { x: "$A" }],
      "user-data": script,
    });
  });

  it("reach the guest's environment, empty ones too", () => {
    const content = `${FORGE}${POOL}guest: {env: {HTTPS_PROXY: "http://\${P}:1", EMPTY: "", N: 1}}\n`;
    expect(load(content, { P: "proxy" }).settings.guest.env).toEqual({
      HTTPS_PROXY: "http://proxy:1",
      EMPTY: "",
      N: "1",
    });
  });
});
