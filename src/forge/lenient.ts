import * as z from "zod";
import type { Logger } from "../base/log.ts";

export interface LenientList<T> {
  items: T[];
  /** Elements that could not be read. */
  dropped: number;
}

/** A list in which one bad element does not lose the others; `null` is the empty list. */
export function lenientList<T>(element: z.ZodType<T>): z.ZodType<LenientList<T>> {
  return z
    .array(z.unknown())
    .nullish()
    .transform((values) => {
      const items: T[] = [];
      for (const value of values ?? []) {
        const parsed = element.safeParse(value);
        if (parsed.success) items.push(parsed.data);
      }
      return { items, dropped: (values ?? []).length - items.length };
    });
}

/** Says that elements were dropped, once for each change of the number. */
export function droppedReporter(log: Logger): (what: string, dropped: number) => void {
  const last = new Map<string, number>();
  return (what, dropped) => {
    if ((last.get(what) ?? 0) === dropped) return;
    last.set(what, dropped);
    if (dropped > 0)
      log.warn({ list: what, dropped }, "elements of the forge's list cannot be understood and are ignored");
  };
}

/** Unix milliseconds of a forge's time; it writes the epoch, or year 1, for "not yet". */
export function timeOf(text: string | null | undefined): number | undefined {
  const time = text === null || text === undefined ? Number.NaN : Date.parse(text);
  return time > 0 ? time : undefined;
}

/** Ids are counted up from 1 and fit a number for ever. */
export const Id = z.int().positive();
export const Label = z.string().max(255);
export const Labels = z
  .array(Label)
  .max(64)
  .nullish()
  .transform((labels) => labels ?? []);
/** Text for people only: a long one is cut, not refused. */
export const Text = z.string().transform((text) => text.slice(0, 255));
