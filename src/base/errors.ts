/** Facts of an error, for logs and `--json`; never a secret. */
export type ErrorFacts = Record<string, string | number | boolean | undefined>;

interface FireteactErrorOptions {
  /** What the reader can do next. */
  hint?: string;
  cause?: unknown;
  facts?: ErrorFacts;
}

/**
 * An error that a person is meant to read: `message` says what happened and what caused it, `hint` what to do next.
 * `code` is stable, in capitals, and never reused for another meaning. A plain `Error` is a defect of the program.
 */
export class FireteactError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly facts: ErrorFacts;

  constructor(code: string, message: string, options: FireteactErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "FireteactError";
    this.code = code;
    this.hint = options.hint;
    this.facts = options.facts ?? {};
  }
}

/** The system error code (`ENOENT`, `ECONNREFUSED`...) found first along the chain of causes. */
export function systemCode(error: unknown): string | undefined {
  for (let current = error, depth = 0; current instanceof Error && depth < 8; current = current.cause, depth++) {
    const code = (current as NodeJS.ErrnoException).code;
    if (typeof code === "string" && /^E[A-Z0-9_]+$/.test(code)) return code;
  }
  return undefined;
}

/** Swallows exactly the system errors named; everything else is thrown again. For deliberate ignores. */
export function ignore(...codes: string[]): (error: unknown) => undefined {
  return (error) => {
    const code = systemCode(error);
    if (code !== undefined && codes.includes(code)) return undefined;
    throw error;
  };
}

/** One line for a log or a record: the message and its causes, without stack traces and line breaks. */
export function describe(error: unknown): string {
  const parts: string[] = [];
  for (let current = error, depth = 0; current !== undefined && depth < 5; depth++) {
    parts.push(current instanceof Error ? current.message : (current as string));
    current = current instanceof Error ? current.cause : undefined;
  }
  const line = parts
    .filter((part, index) => part !== "" && parts.indexOf(part) === index)
    .join(": ")
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim();
  return line.length > 600 ? `${line.slice(0, 600)}...` : line;
}
