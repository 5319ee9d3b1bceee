import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { createCommandReader } from "../../../../src/agent/engines/shell/commands.ts";
import { createMasks } from "../../../../src/agent/engines/shell/masks.ts";
import { chooseShell, commandLine } from "../../../../src/agent/engines/shell/shells.ts";
import { parseAssignments, readStepFile } from "../../../../src/agent/engines/shell/step-files.ts";

describe("masks", () => {
  it("never leave a whole secret in a text, whatever else is a secret", () => {
    const secret = fc
      .string({ minLength: 3, maxLength: 20 })
      .filter((text) => text.trim().length >= 3 && !text.includes("*"));
    fc.assert(
      fc.property(
        fc.array(secret, { minLength: 1, maxLength: 6 }),
        fc.array(fc.string(), { maxLength: 5 }),
        (secrets, texts) => {
          const masks = createMasks();
          for (const one of secrets) masks.add(one);
          const text = secrets.flatMap((one, index) => [texts[index] ?? "", one]).join("");
          const shown = masks.apply(text);
          for (const one of secrets) expect(shown.includes(one.trim())).toBe(false);
        },
      ),
    );
  });

  it("take a longer secret before one that it begins with, and each line of one in several lines", () => {
    const masks = createMasks();
    masks.add("abc");
    masks.add("abcdef");
    masks.add('{\n  "key": "value-of-key"\n}');
    expect(masks.apply("abcdef abc")).toBe("*** ***");
    expect(masks.apply('{ } "key": "value-of-key"')).toBe("{ } ***");
  });

  it("know the usual encodings, and change nothing where there is no secret", () => {
    const masks = createMasks();
    masks.add("");
    masks.add("  \n ");
    expect(masks.apply("nothing to hide")).toBe("nothing to hide");
    masks.add('p"ss w/rd');
    for (const form of ['p"ss w/rd', 'p\\"ss w/rd', "p%22ss%20w%2Frd", Buffer.from('p"ss w/rd').toString("base64")]) {
      expect(masks.apply(`<${form}>`)).toBe("<***>");
    }
  });
});

describe("workflow commands", () => {
  it("are read with properties and escapes", () => {
    const { read } = createCommandReader();
    expect(read("::error file=a%2Cb.sh,line=3::it%0Abroke%25")).toEqual({
      name: "error",
      properties: { file: "a,b.sh", line: "3" },
      message: "it\nbroke%",
    });
    expect(read("  ::group::Name")).toEqual({ name: "group", properties: {}, message: "Name" });
    expect(read("::endgroup::")).toEqual({ name: "endgroup", properties: {}, message: "" });
    expect(read("::debug::100%253A")).toMatchObject({ message: "100%3A" });
  });

  it("are not found in ordinary lines", () => {
    const { read } = createCommandReader();
    for (const line of ["", "text", "std::cout << 1", "a ::error::x", "::", "::::", ":: error::x"]) {
      expect(read(line)).toBeUndefined();
    }
  });

  it("rest until the word that ends the rest", () => {
    const { read } = createCommandReader();
    expect(read("::stop-commands::word")).toBeUndefined();
    expect(read("::error::x")).toBeUndefined();
    expect(read("::other::")).toBeUndefined();
    expect(read("::word::")).toBeUndefined();
    expect(read("::error::x")?.name).toBe("error");
  });
});

describe("the files of a step", () => {
  it("hold values of one and of several lines", () => {
    const text = "A=1\nB=x=y\n\nC<<EOF\nfirst\nD=not a name\nEOF\nE<<--\n--\nF=\n";
    expect(parseAssignments(text, "GITHUB_ENV")).toEqual([
      ["A", "1"],
      ["B", "x=y"],
      ["C", "first\nD=not a name"],
      ["E", ""],
      ["F", ""],
    ]);
    expect(parseAssignments("A<<X\r\n1\r\nX\r\n", "GITHUB_ENV")).toEqual([["A", "1"]]);
    expect(parseAssignments("A=b<<c", "GITHUB_ENV")).toEqual([["A", "b<<c"]]);
  });

  it.each([
    ["no sign", /neither NAME=value nor/],
    ["A<<EOF\nno end", /no line "EOF" ends/],
    ["=x", /no name/],
    ["A<<", /neither/],
  ])("%j is refused", (text, message) => expect(() => parseAssignments(text, "GITHUB_OUTPUT")).toThrow(message));

  it("are read only where they are ordinary, short files", async () => {
    const folder = mkdtempSync(join(tmpdir(), "step-files-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "file");
    expect(await readStepFile(path)).toBe("");
    writeFileSync(path, "A=1");
    expect(await readStepFile(path)).toBe("A=1");
    writeFileSync(path, Buffer.alloc(5 * 1024 * 1024));
    await expect(readStepFile(path)).rejects.toThrow(/longer than/);
    symlinkSync("/etc/passwd", join(folder, "link"));
    await expect(readStepFile(join(folder, "link"))).rejects.toThrow(/cannot be read/);
    await expect(readStepFile("/dev/zero")).rejects.toThrow(/no ordinary file/);
    await expect(readStepFile(folder)).rejects.toThrow(/no ordinary file/);
  });
});

describe("a shell", () => {
  const find = (has: string[]) => (program: string) => (has.includes(program) ? `/bin/${program}` : undefined);
  const line = (name: string | undefined, has = ["bash", "sh", "python", "node", "perl"]) =>
    commandLine(chooseShell(name, find(has)), "/tmp/s").join(" ");

  it("has its usual command line", () => {
    expect(line(undefined)).toBe("bash -e /tmp/s");
    expect(line(undefined, ["sh"])).toBe("sh -e /tmp/s");
    expect(line("bash")).toBe("/bin/bash --noprofile --norc -eo pipefail /tmp/s");
    expect(line("sh")).toBe("/bin/sh -e /tmp/s");
    expect(line("python", ["python3"])).toBe("/bin/python3 /tmp/s");
    expect(line("perl -w {0} --flag")).toBe("/bin/perl -w /tmp/s --flag");
  });

  it("is refused when it is unknown or missing", () => {
    expect(() => line("fish")).toThrow(/no shell called "fish"/);
    expect(() => line("constructor")).toThrow(/no shell called/);
    expect(() => line("ruby {0}")).toThrow(/has no ruby/);
    expect(() => line("bash", [])).toThrow(/has no bash/);
  });
});
