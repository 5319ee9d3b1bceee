import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { guestEnvironment, readCertificates } from "../../../src/image/build/settings.ts";
import { temporaryDirectory } from "./temporary.ts";

const lines = (text: string) => text.split("\n").filter(Boolean);

describe("the guest's environment", () => {
  it("is the owner's, sorted, and nothing else where there are no proxies", () => {
    expect(guestEnvironment({ B: "2", A: "a b = c" }, false)).toBe("A=a b = c\nB=2\n");
    expect(guestEnvironment({}, false)).toBe("");
  });

  it("has proxies in both cases, whichever was given, and Node heeds them", () => {
    const result = lines(guestEnvironment({ HTTPS_PROXY: "http://p:3128", http_proxy: "http://q:1" }, false));
    expect(result).toEqual(
      expect.arrayContaining([
        "HTTPS_PROXY=http://p:3128",
        "https_proxy=http://p:3128",
        "HTTP_PROXY=http://q:1",
        "http_proxy=http://q:1",
        "NODE_USE_ENV_PROXY=1",
      ]),
    );
  });

  it("never sends the guest's metadata or itself through a proxy", () => {
    const result = lines(guestEnvironment({ http_proxy: "http://p:1", NO_PROXY: "git.example.org,localhost" }, false));
    const expected = "git.example.org,localhost,127.0.0.1,::1,169.254.169.254,metadata.fireteact.internal";
    expect(result).toContain(`no_proxy=${expected}`);
    expect(result).toContain(`NO_PROXY=${expected}`);
  });

  it("leads Node to extra certificates, unless the owner leads it elsewhere", () => {
    expect(guestEnvironment({}, true)).toBe("NODE_EXTRA_CA_CERTS=/usr/lib/fireteact/ca.pem\n");
    expect(guestEnvironment({ NODE_EXTRA_CA_CERTS: "/own.pem" }, true)).toBe("NODE_EXTRA_CA_CERTS=/own.pem\n");
  });

  it.each([
    [{ "A B": "1" }, /"A B" is not a name/],
    [{ "": "1" }, /"" is not a name/],
    [{ A: "1\nLD_PRELOAD=x" }, /value of A has a line break/],
  ])("refuses what would not be one variable: %j", (env, message) => {
    expect(() => guestEnvironment(env as Record<string, string>, false)).toThrow(message);
  });
});

describe("extra certificate authorities", () => {
  const fixture = (name: string) => join(import.meta.dirname, "fixtures", `ca-${name}.pem`);

  it("are taken apart, each once, whatever stands around them", async () => {
    const directory = await temporaryDirectory();
    const [a, b] = await Promise.all(["a", "b"].map((name) => readFile(fixture(name), "utf8")));
    await writeFile(join(directory, "all.pem"), `# ours\n${a}\nsubject=/CN=b\n${b!.replaceAll("\n", "\r\n")}`);
    const read = await readCertificates([join(directory, "all.pem"), fixture("a")]);
    expect(read).toEqual([a, b]);
  });

  it.each([
    ["hello", /holds no certificate in PEM form/],
    ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", /holds a damaged certificate/],
    ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", /holds no certificate/],
  ])("are refused with the file's name when there are none: %j", async (text, message) => {
    const file = join(await temporaryDirectory(), "ca.pem");
    await writeFile(file, text);
    await expect(readCertificates([file])).rejects.toThrow(message);
    await expect(readCertificates([file])).rejects.toThrow(file);
  });

  it("are refused when the file is missing", async () => {
    await expect(readCertificates(["/nowhere/ca.pem"])).rejects.toMatchObject({ code: "GUEST_CA" });
  });
});
