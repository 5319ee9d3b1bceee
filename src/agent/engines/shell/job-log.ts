import type { Clock } from "../../../base/clock.ts";
import type { Masks } from "./masks.ts";

export interface LogLine {
  /** Unix milliseconds. */
  at: number;
  content: string;
}

/** The job's log on its way to the forge: masked before anything else sees it, numbered by line, bounded as a whole. */
export interface JobLog {
  /** Adds lines; control characters that end a line end it here too. */
  write(text: string): void;
  /** Lines so far, sent or not. */
  readonly length: number;
  /** Number of the first line that is not acknowledged. */
  readonly acknowledged: number;
  /** Lines from that one on, as many as fit one request. */
  pending(): LogLine[];
  acknowledge(next: number): void;
  /** Resolves when little enough waits for the forge; whoever writes much asks first. */
  room(): Promise<void>;
}

/** A line is cut here: a row is at most 64 KiB, and a UTF-16 unit at most three bytes. */
const LONGEST_LINE = 16 * 1024;
const REQUEST_LINES = 1_000;
const REQUEST_UNITS = 512 * 1024;
const WAITING_UNITS = 4 * 1024 * 1024;
/** A log beyond this helps nobody and fills the forge's disk. */
export const TOTAL_UNITS = 64 * 1024 * 1024;

export function createJobLog(masks: Masks, clock: Clock, onLine: (line: string) => void, total = TOTAL_UNITS): JobLog {
  let waiting: LogLine[] = [];
  let waitingUnits = 0;
  let acknowledged = 0;
  let written = 0;
  let full = false;
  let relief = Promise.withResolvers<void>();

  const add = (content: string): void => {
    waiting.push({ at: clock.now(), content });
    waitingUnits += content.length;
    onLine(content);
  };

  return {
    write(text) {
      if (full) return;
      for (const line of masks.apply(text).split(/\r?\n/)) {
        for (let from = 0; from === 0 || from < line.length; from += LONGEST_LINE) {
          const piece = line.slice(from, from + LONGEST_LINE);
          written += piece.length + 1;
          add(piece);
        }
      }
      if (written <= total) return;
      full = true;
      add(`::warning::The log is longer than ${Math.floor(total / 1024 / 1024)} MiB; the rest is left out.`);
    },
    get length() {
      return acknowledged + waiting.length;
    },
    get acknowledged() {
      return acknowledged;
    },
    pending() {
      let units = 0;
      const past = waiting.findIndex((line, index) => {
        units += line.content.length;
        return index >= REQUEST_LINES || (index > 0 && units > REQUEST_UNITS);
      });
      return past < 0 ? [...waiting] : waiting.slice(0, past);
    },
    acknowledge(next) {
      const count = Math.min(Math.max(next - acknowledged, 0), waiting.length);
      for (const line of waiting.slice(0, count)) waitingUnits -= line.content.length;
      waiting = waiting.slice(count);
      acknowledged += count;
      if (waitingUnits > WAITING_UNITS) return;
      relief.resolve();
      relief = Promise.withResolvers<void>();
    },
    async room() {
      if (waitingUnits > WAITING_UNITS) await relief.promise;
    },
  };
}
