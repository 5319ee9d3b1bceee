import { Command as Commander, CommanderError } from "commander";
import { describe, FireteactError } from "../base/errors.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";
import { config } from "./config.ts";
import { demo } from "./demo.ts";
import { doctor } from "./doctor.ts";
import { drain, jobs, logs, pools, runners } from "./fleet.ts";
import { image } from "./image.ts";
import { SERVE_OPTIONS, serve } from "./serve.ts";
import { version, versionLine } from "./version.ts";

const COMMANDS: Command[] = [serve, demo, doctor, config, image, pools, runners, jobs, logs, drain, version];

/**
 * Runs one command line and returns the exit code. Results go to stdout, everything else to stderr, so that `--json`
 * output can be piped.
 */
export async function runProgram(argv: string[]): Promise<number> {
  // The agent keeps the original's own way of reading its flags.
  if (argv[0] === "runner") return (await import("../agent/run.ts")).runAgent(argv.slice(1));
  let code: number = EXIT.ok;
  const program = new Commander("fireteact")
    .description("Pools of ephemeral Actions runners for Gitea and Forgejo: one fresh microVM per job.")
    .version(versionLine, "--version", "print the version")
    .option("--json", "print the result as JSON")
    .showHelpAfterError("(try 'fireteact --help')")
    .exitOverride();
  for (const command of COMMANDS) {
    addCommand(program, command, (result) => {
      code = result;
    });
  }
  program.addHelpText("after", "\nWithout a command fireteact serves. Inside a sandbox it is 'fireteact runner'.");
  program.addHelpText(
    "after",
    "\nExit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 no daemon, 4 refused.",
  );
  try {
    await program.parseAsync(withDefaultCommand(argv), { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return report(error, argv.includes("--json"));
  }
}

function addCommand(program: Commander, command: Command, done: (code: number) => void): void {
  const sub = program.command(command.name).description(command.summary);
  for (const { name, description } of command.args ?? []) sub.argument(name, description);
  for (const { flags, description, default: value } of command.options ?? []) sub.option(flags, description, value);
  sub.option("--json", "print the result as JSON");
  for (const example of command.examples ?? []) sub.addHelpText("after", `  $ ${example}`);
  sub.exitOverride().showHelpAfterError(`(try 'fireteact ${command.name} --help')`);
  sub.action(async (...parameters: unknown[]) => {
    const args = parameters.slice(0, -2) as (string | undefined)[];
    const options = sub.optsWithGlobals<Record<string, string | boolean | undefined>>();
    const context: CommandContext = {
      args,
      options,
      json: options["json"] === true,
      progress: (line) => void process.stderr.write(`${line}\n`),
    };
    const result = await command.run(context);
    const text = context.json ? JSON.stringify(result, undefined, 2) : command.render(result, context);
    if (text !== "") process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
    done(command.exitCode?.(result) ?? EXIT.ok);
  });
}

/** `fireteact` and `fireteact -c FILE` mean `fireteact serve`, as in the original. */
function withDefaultCommand(argv: string[]): string[] {
  const first = argv[0];
  const serves = first === undefined || SERVE_OPTIONS.some((flag) => first === flag || first.startsWith(`${flag}=`));
  return serves ? ["serve", ...argv] : argv;
}

/** What happened, what caused it, what to do next. */
function report(error: unknown, json: boolean): number {
  const known = error instanceof FireteactError ? error : undefined;
  const code = known?.code ?? "INTERNAL";
  const hint = known?.hint;
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ error: { code, message: describe(error), ...(hint === undefined ? {} : { hint }), facts: known?.facts } })}\n`,
    );
  } else {
    const message =
      known === undefined
        ? `${describe(error)}\n(this is a defect: ${error instanceof Error ? error.stack : ""})`
        : multiline(known);
    process.stderr.write(`fireteact: ${message}\n${hint === undefined ? "" : `  ${hint}\n`}`);
  }
  return exitCodeOf(code);
}

/** Messages of several problems keep their lines; causes follow on their own. */
function multiline(error: FireteactError): string {
  const cause = error.cause === undefined ? "" : `\n  cause: ${describe(error.cause)}`;
  return `${error.message}${cause}`;
}

function exitCodeOf(code: string): number {
  if (code.startsWith("CONFIG") || code === "USAGE") return EXIT.usage;
  if (code === "DAEMON_UNREACHABLE") return EXIT.unreachable;
  if (code === "DAEMON_REFUSED") return EXIT.refused;
  return EXIT.failure;
}
