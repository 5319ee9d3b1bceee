import { type Dirent, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ignore } from "../../src/base/errors.ts";
import type { Places } from "../../src/base/names.ts";
import { processes } from "../../src/base/process.ts";

/**
 * What sandboxes left on the host, found by looking at the host and not at our own lists: processes, files and sockets,
 * and records in the store. One line each.
 */
export function remainsOf(places: Places, except: readonly number[] = []): string[] {
  return [
    ...processesBelow([places.run, places.state])
      .filter(({ pid }) => !except.includes(pid))
      .map(({ pid, command }) => `process ${pid}: ${command}`),
    ...filesOf(places),
    ...recordsIn(join(places.state, "state.db")),
  ];
}

/** Living processes that have one of the directories in their command line, as a working directory, or a file of it open. */
export function processesBelow(directories: readonly string[]): { pid: number; command: string }[] {
  const found: { pid: number; command: string }[] = [];
  for (const { pid } of processes()) {
    if (pid === process.pid) continue;
    const command = read(() => readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()) ?? "";
    const marks = [command, ...openPaths(pid)];
    if (marks.some((mark) => directories.some((directory) => mark.includes(`${directory}/`)))) {
      found.push({ pid, command: command.slice(0, 160) });
    }
  }
  return found;
}

/** What runs in sandboxes below a directory: neither their shims nor what keeps their consoles, nor a daemon. */
export function monitorsBelow(directory: string, daemons: readonly number[]): number[] {
  return processesBelow([directory])
    .filter(({ pid, command }) => !daemons.includes(pid) && !/^(?:\/bin\/sh|cat)\b/.test(command))
    .map(({ pid }) => pid);
}

/** A process's working directory, with a slash at its end so that it is below itself, and its open files. */
function openPaths(pid: number): string[] {
  const link = (path: string): string => read(() => readlinkSync(path)) ?? "";
  const place = `/proc/${pid}`;
  return [`${link(`${place}/cwd`)}/`, ...namesIn(`${place}/fd`).map((fd) => link(`${place}/fd/${fd}`))];
}

/** What a daemon keeps for itself and for the next one. All else below its directories belonged to a sandbox. */
const KEPT = [
  /^run\/(?:api\.sock|host-id)$/,
  /^run\/(?:fake\/)?shim$/,
  /^state\/(?:host-id|claim\.db|state\.db)(?:-wal|-shm|-journal)?$/,
  // What monitors share, and the files of the tests themselves.
  /^state\/(?:images|kernels|probe|initrds)\//,
  /^state\/disks\/pristine-[^/]*$/,
  /^state\/(?:image-[^/]*|config)\.yaml$/,
  /^state\/serve\.log$/,
  /^state\/logs\/[0-9a-f]{24}\.log$/,
];

/** Directories that stay when they are empty. */
const PLACES_KEPT = /^(?:run\/(?:fake|sandboxes|network)|state\/(?:disks|logs|images|kernels|probe|initrds))$/;

function filesOf(places: Places): string[] {
  return Object.entries(places).flatMap(([name, root]) =>
    entriesIn(root).flatMap((entry) => {
      const whole = join(entry.parentPath, entry.name);
      // One of them may lie in the other.
      if (name === "state" && `${whole}/`.startsWith(`${places.run}/`)) return [];
      const path = join(name, relative(root, whole));
      const kept = (entry.isDirectory() && PLACES_KEPT.test(path)) || KEPT.some((pattern) => pattern.test(path));
      return kept ? [] : [`${entry.isDirectory() ? "directory" : entry.isSocket() ? "socket" : "file"} ${path}`];
    }),
  );
}

function entriesIn(root: string): Dirent[] {
  return read(() => readdirSync(root, { recursive: true, withFileTypes: true })) ?? [];
}

/** Tables that outlive runners. Rows of all others are about something that should be gone. */
const LASTING_TABLES = new Set(["meta", "history", "paused_pools", "sqlite_sequence"]);

function recordsIn(path: string): string[] {
  const database = read(() => new DatabaseSync(path, { readOnly: true }));
  if (database === undefined) return [];
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    return tables
      .map(({ name }) => String(name))
      .filter((name) => !LASTING_TABLES.has(name))
      .flatMap((name) =>
        database
          .prepare(`SELECT * FROM "${name}"`)
          .all()
          .map((row) => ({ name, row })),
      )
      .map(({ name, row }) => `record in ${name}: ${String(Object.values(row)[0])}`);
  } finally {
    database.close();
  }
}

/** Names in a directory, which may not be there. */
export const namesIn = (directory: string): string[] => read(() => readdirSync(directory)) ?? [];

/** Processes and files go away while they are looked at. */
function read<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && "errcode" in error) return undefined;
    return ignore("ENOENT", "ESRCH", "EACCES", "ENOTDIR")(error);
  }
}
