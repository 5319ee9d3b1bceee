import { FireteactError } from "../../../base/errors.ts";

/** How to run a script: `{0}` stands for its path. */
export interface Shell {
  template: string[];
  extension: string;
}

const KNOWN: Record<string, Shell> = {
  bash: { template: ["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"], extension: ".sh" },
  sh: { template: ["sh", "-e", "{0}"], extension: ".sh" },
  python: { template: ["python", "{0}"], extension: ".py" },
  node: { template: ["node", "{0}"], extension: ".cjs" },
};

/**
 * The shell that a step names, or the default: bash without pipefail where there is one, else sh.
 * @param find path of a program, undefined where there is none
 */
export function chooseShell(name: string | undefined, find: (program: string) => string | undefined): Shell {
  if (name === undefined || name.trim() === "") {
    const program = find("bash") === undefined ? "sh" : "bash";
    return { template: [program, "-e", "{0}"], extension: ".sh" };
  }
  const known = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined;
  const template = known?.template ?? name.trim().split(/\s+/);
  if (!template.includes("{0}") && !template.some((word) => word.includes("{0}"))) {
    throw new FireteactError("UNKNOWN_SHELL", `there is no shell called ${JSON.stringify(name)}`, {
      hint: `use ${Object.keys(KNOWN).join(", ")}, or a command line with {0} for the script`,
    });
  }
  const [program = "", ...rest] = template;
  const found = find(program) ?? (program === "python" ? find("python3") : undefined);
  if (found === undefined) throw new FireteactError("UNKNOWN_SHELL", `the image has no ${program}`);
  return { template: [found, ...rest], extension: known?.extension ?? "" };
}

export const commandLine = (shell: Shell, script: string): string[] =>
  shell.template.map((word) => word.replaceAll("{0}", script));
