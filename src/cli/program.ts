import { Command as Commander, CommanderError } from "commander";
import { ignore } from "../base/errors.ts";
import { type Command, type CommandContext, EXIT, usage } from "./command.ts";
import { config } from "./config.ts";
import { demo } from "./demo.ts";
import { doctor } from "./doctor.ts";
import { drain } from "./drain.ts";
import { image } from "./image.ts";
import { jobs } from "./jobs.ts";
import { logs } from "./logs.ts";
import { native } from "./native.ts";
import { pools } from "./pools.ts";
import { fill } from "./render/text.ts";
import { asJson, report } from "./report.ts";
import { runners } from "./runners.ts";
import { SERVE_OPTIONS, serve } from "./serve.ts";
import { store } from "./store.ts";
import { version, versionLine } from "./version.ts";

const COMMANDS: Command[] = [
  demo,
  serve,
  doctor,
  config,
  image,
  native,
  store,
  pools,
  runners,
  jobs,
  logs,
  drain,
  version,
];

const AFTERWORD = [
  "",
  fill(
    "",
    "Without a command, or with -c FILE alone, fireteact serves. 'fireteact runner' is what runs inside a sandbox.",
  ),
  "",
  fill(
    "Exit codes: ",
    "0 done; 1 failed, or a check found something; 2 wrong command line or configuration; 3 no daemon answers; 4 the daemon refused.",
  ),
].join("\n");

/**
 * Runs one command line and returns the exit code. Results go to stdout, everything else to stderr, so that `--json`
 * output can be piped.
 */
export async function runProgram(argv: string[]): Promise<number> {
  // The agent keeps the original's own way of reading its flags.
  if (argv[0] === "runner") return (await import("../agent/run.ts")).runAgent(argv.slice(1));
  // Whoever reads our output may stop reading.
  process.stdout.on("error", ignore("EPIPE"));
  let code: number = EXIT.ok;
  const program = new Commander("fireteact")
    .description("Pools of ephemeral Actions runners for Gitea and Forgejo: one fresh microVM per job.")
    .usage("<command> [options]")
    .version(versionLine, "--version", "print the version")
    .option("--json", "print the result as JSON")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput({ outputError: () => undefined })
    .addHelpText("after", AFTERWORD)
    .exitOverride();
  for (const command of COMMANDS) {
    addCommand(program, command, (result) => {
      code = result;
    });
  }
  try {
    await program.parseAsync(withDefaultCommand(argv), { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    // No command: its help was printed.
    if (error instanceof CommanderError && error.code === "commander.help") return EXIT.usage;
    return report(error instanceof CommanderError ? misuse(error, argv) : error, argv.includes("--json"));
  }
}

function addCommand(program: Commander, command: Command, done: (code: number) => void): void {
  const { name, summary, details, group, args = [], options = [], examples = [] } = command;
  const about = `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.${details === undefined ? "" : ` ${details}`}`;
  const sub = program.command(name).summary(summary).description(about);
  if (group !== undefined) sub.helpGroup(group);
  for (const argument of args) sub.argument(argument.name, argument.description);
  for (const { flags, description, default: value } of options) sub.option(flags, description, value);
  sub.option("--json", "print the result as JSON");
  if (examples.length > 0) sub.addHelpText("after", ["\nExamples:", ...examples.map((each) => `  ${each}`)].join("\n"));
  sub.exitOverride();
  sub.action(async (...parameters: unknown[]) => {
    const given = parameters.slice(0, -2) as (string | undefined)[];
    const values = sub.optsWithGlobals<Record<string, string | boolean | undefined>>();
    const context: CommandContext = {
      args: given,
      options: values,
      json: values["json"] === true,
      progress: (line) => void process.stderr.write(`${line}\n`),
    };
    const result = await command.run(context);
    const text = context.json ? asJson(result) : command.render(result, context);
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

/** What the command line's parser says, in our words. */
function misuse({ message }: CommanderError, argv: string[]): Error {
  const [first = "", guess] = message.replace(/^error: /, "").split("\n");
  const command = COMMANDS.find(({ name }) => name === argv.find((word) => !word.startsWith("-")))?.name;
  const help = `'fireteact ${command === undefined ? "" : `${command} `}--help' has more`;
  const meant = guess === undefined ? "" : `${guess.replace(/^\((.*)\)$/, "$1").replace(/^Did/, "did")} `;
  return usage(first, `${meant}${help}`);
}
