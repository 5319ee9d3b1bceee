import { accessSync, constants, statfsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import * as z from "zod";
import { systemCode } from "../../base/errors.ts";
import type { Places } from "../../base/names.ts";
import { unixRequest } from "../../base/unix-http.ts";
import type { ListenAddress, Settings } from "../../core/settings.ts";
import { capacity, readSpace } from "../capacity.ts";
import { bad, type Finding, good, warning } from "./finding.ts";

const GIB = 2 ** 30;
/** An image with its build needs about this much. */
const LEAST_FREE = 3 * GIB;

/** What the user may do here. */
export function checkUser(settings: Settings | undefined): Finding {
  if (process.getuid?.() === 0) return good("user", "root");
  const uid = `uid ${process.getuid?.() ?? "unknown"}, not root`;
  const microvms = settings?.pools.some(({ driver }) => driver !== "fake" && driver !== "native") ?? true;
  if (!microvms) return good("user", `${uid}: no pool needs root`);
  return bad(
    "user",
    `${uid}: microVMs cannot be made, and KVM and network were not tried`,
    "run doctor and serve as root (sudo fireteact doctor); every guest's monitor gives its rights up again",
  );
}

/** State and run directories, and the room for images and scratch disks. */
export function checkDirectories(places: Places): Finding[] {
  const check = (subject: string, path: string, variable: string): Finding => {
    const present = nearest(path);
    try {
      accessSync(present, constants.W_OK | constants.X_OK);
      return good(subject, present === path ? `${path} is writable` : `${path} will be made`);
    } catch (error) {
      const hint = `make ${path} writable for the user Fireteact runs as, or name another directory with ${variable}`;
      return bad(subject, `${present} is not writable (${systemCode(error) ?? "error"})`, hint);
    }
  };
  return [
    check("state directory", places.state, "FIRETEACT_STATE_DIR"),
    check("run directory", places.run, "FIRETEACT_RUN_DIR"),
    checkSpace(places.state),
  ];
}

function checkSpace(path: string): Finding {
  const { bavail, blocks, bsize } = statfsSync(nearest(path));
  const free = bavail * bsize;
  const detail = `${(free / GIB).toFixed(1)} GiB free of ${((blocks * bsize) / GIB).toFixed(1)} GiB at ${path}`;
  if (free >= LEAST_FREE) return good("disk space", detail);
  return warning(
    "disk space",
    detail,
    `an image with its build takes about ${LEAST_FREE / GIB} GiB, and every guest what its job writes: make room there`,
  );
}

/** Whether the biggest guests fit at all; a pool that does not fit waits for ever. */
export function checkCapacity(settings: Settings, places: Places): Finding {
  const host = capacity(settings, readSpace(places));
  const diskMib = Math.max(host.disk?.mib ?? 0, 0);
  const detail = `${host.memoryMib} MiB memory, ${host.vcpus} virtual CPUs and ${diskMib} MiB of scratch disks for guests`;
  const large = settings.pools.filter(
    (pool) => pool.memoryMib > host.memoryMib || pool.vcpus > host.vcpus || pool.diskMib > diskMib,
  );
  if (large.length === 0) return good("capacity", detail);
  const names = large
    .map((pool) => `${pool.name} (${pool.memoryMib} MiB, ${pool.vcpus} CPUs, ${pool.diskMib} MiB disk)`)
    .join(", ");
  return bad(
    "capacity",
    `${detail}: too little for one runner of ${names}`,
    "make the pool's guests smaller (memSizeMib, vcpuCount, diskSizeMib), or give guests more: room on the disk, host.memoryMib, host.vcpus",
  );
}

const Health = z.object({ status: z.string(), problems: z.array(z.string()).default([]) });

/** Whether a daemon answers, and how it is; without one, whether its listeners could open. */
export async function checkDaemon(places: Places, settings: Settings | undefined): Promise<Finding[]> {
  const socketPath = settings?.server.socket ?? `${places.run}/api.sock`;
  const answer = await unixRequest({ socketPath, path: "/health?verbose" }).catch((error: unknown) => error);
  if (answer instanceof Error) {
    const code = systemCode(answer);
    if (code === "EACCES" || code === "EPERM") {
      return [warning("daemon", `${socketPath} may not be opened by this user`, "run doctor as root")];
    }
    const listeners = settings === undefined ? [] : await checkListeners(settings);
    return [warning("daemon", `none answers at ${socketPath}`, "start it with: fireteact serve"), ...listeners];
  }
  const health = Health.safeParse(parsed((answer as { body: string }).body));
  if (!health.success) {
    const hint = "another program listens there: set server.socket to another path";
    return [bad("daemon", `what answers at ${socketPath} is not fireteact`, hint)];
  }
  const { status, problems } = health.data;
  if (status === "healthy") return [good("daemon", `running and healthy, at ${socketPath}`)];
  const detail = `running, but ${status}: ${problems.join("; ")}`;
  return [warning("daemon", detail, "see the other findings here, and the daemon's log")];
}

async function checkListeners({ server }: Settings): Promise<Finding[]> {
  const keys = ["address", "metricsAddress"] as const;
  return Promise.all(keys.map((key) => checkListener(`server.${key}`, server[key])));
}

async function checkListener(key: string, { host, port }: ListenAddress): Promise<Finding> {
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const code = await new Promise<string | undefined>((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve(systemCode(error) ?? "error"));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  if (code === undefined) return good(key, `${address} is free`);
  const hint =
    code === "EADDRINUSE"
      ? `another program listens there (ss -ltnp shows it): end it, or set ${key} to another port`
      : `set ${key} to an address of this host`;
  return bad(key, `cannot listen on ${address} (${code})`, hint);
}

/** The directory itself or the nearest one above it that exists. */
function nearest(path: string): string {
  try {
    accessSync(path, constants.F_OK);
    return path;
  } catch {
    return path === "/" ? path : nearest(dirname(path));
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
