import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Field names whose values never reach a log, at the top and one level down. */
const SECRET_FIELDS = ["token", "apiToken", "registrationToken", "secret", "authorization", "password", "credentials"];

/** JSON lines on stderr, which journald keeps. Messages are static; what varies goes into fields. */
export function createLogger(level: LogLevel, destination?: { write(line: string): void }): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: "[secret]" },
  };
  return pino(options, destination ?? pino.destination({ fd: 2, sync: true }));
}

export const silentLogger: Logger = pino({ level: "silent" });
