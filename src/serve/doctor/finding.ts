import { describe, FireteactError } from "../../base/errors.ts";

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `forge https://git.example.com`, `qemu`, `network`. */
  subject: string;
  /** `warning`: it works, with a loss or a danger. `bad`: it does not work. */
  state: "good" | "warning" | "bad";
  /** What was found, one line. */
  detail: string;
  /** What to do about it; always there unless the state is good. */
  hint?: string;
}

export function good(subject: string, detail: string, hint?: string): Finding {
  return { subject, state: "good", detail, ...(hint === undefined ? {} : { hint }) };
}

export function warning(subject: string, detail: string, hint: string): Finding {
  return { subject, state: "warning", detail, hint };
}

export function bad(subject: string, detail: string, hint: string): Finding {
  return { subject, state: "bad", detail, hint };
}

/** What a failed look says; `otherwise` is the hint where the error brings none. */
export function failed(subject: string, error: unknown, otherwise: string): Finding {
  const hint = error instanceof FireteactError ? error.hint : undefined;
  return bad(subject, describe(error), hint ?? otherwise);
}
