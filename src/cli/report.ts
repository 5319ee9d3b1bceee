import { describe, FireteactError } from "../base/errors.ts";
import { EXIT } from "./command.ts";
import { fill } from "./render/text.ts";

/** Tells what happened, what caused it and what to do next: on stderr, or as JSON on stdout. Returns the exit code. */
export function report(error: unknown, json: boolean): number {
  const known = error instanceof FireteactError ? error : undefined;
  const code = known?.code ?? "INTERNAL";
  if (json) {
    const { hint, facts } = known ?? {};
    process.stdout.write(`${asJson({ error: { code, message: describe(error), hint, facts } })}\n`);
  } else process.stderr.write(`${known === undefined ? defect(error) : forPeople(known)}\n`);
  return exitCodeOf(code);
}

/** JSON that no terminal takes for commands: the C1 controls are escaped too. */
export function asJson(value: unknown): string {
  const text = JSON.stringify(value, undefined, 2);
  return text.replaceAll(/[\u007f-\u009f]/g, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Messages of several problems keep their lines. */
function forPeople(error: FireteactError): string {
  const [first = "", ...further] = error.message.split("\n");
  const lines = [fill("fireteact: ", first), ...further];
  if (error.cause !== undefined) lines.push(fill("  cause: ", describe(error.cause)));
  if (error.hint !== undefined) lines.push(...error.hint.split("\n").map((line) => fill("  > ", line)));
  return lines.join("\n");
}

function defect(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `fireteact: ${describe(error)}\n  > this is a defect of fireteact; please report it with these lines:\n${stack}`;
}

function exitCodeOf(code: string): number {
  if (/^(CONFIG|SECRET|USAGE)/.test(code)) return EXIT.usage;
  if (code === "DAEMON_UNREACHABLE") return EXIT.unreachable;
  if (code === "DAEMON_REFUSED") return EXIT.refused;
  return EXIT.failure;
}
