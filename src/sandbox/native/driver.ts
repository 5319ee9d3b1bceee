import { accessSync, constants, existsSync, lstatSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { FireteactError, systemCode } from "../../base/errors.ts";
import { runnerId } from "../../base/names.ts";
import type { SandboxExit } from "../../core/types.ts";
import type { DriverCheck, SandboxDriver, SandboxInfo } from "../port.ts";
import { readAccount, unaccounted } from "./exits.ts";
import { partsOf, unitName } from "./names.ts";
import { sharedFiles } from "./shared.ts";
import { createServiceManager, type ServiceManager, type UnitView } from "./systemd.ts";
import { createUnitWatch } from "./watch.ts";

export interface NativeDeps {
  hostId: string;
  clock: Clock;
  manager?: ServiceManager;
  /** Where the shared directories lie; `/` outside tests. */
  root?: string;
}

/**
 * Sandboxes that are units of the host's service manager, one a job. The unit's own name tells pool and runner, so a unit
 * that runs is all that the next process needs, and nothing of it depends on this one.
 */
export function createNativeDriver(deps: NativeDeps): SandboxDriver {
  const { clock, manager = createServiceManager(), root = "/" } = deps;
  const files = sharedFiles(root);
  const exitOf = (hex: string) => readAccount(files.account(hex))?.exit ?? unaccounted(clock.now());
  const unitWatch = createUnitWatch({ manager, clock, exitOf });

  const remove: SandboxDriver["remove"] = async (hex, context) => {
    for (const { pool } of await manager.units(`fireteact-native-*@${hex}.service`)) {
      // What it wrote goes with it: all of it lies in its own temporary directories.
      await context.step("stop unit", () => manager.stop(unitName(pool, hex), context.signal));
    }
    files.takeBack(hex);
    files.forget(hex);
  };

  return {
    name: "native",
    prepare: async () => check(files.credentials),
    verify: async () => {
      const { ok, detail, hint } = check(files.credentials);
      if (!ok) throw new FireteactError("NATIVE_UNUSABLE", detail, hint === undefined ? {} : { hint });
    },
    create: async (spec, context) => {
      const unit = unitName(spec.pool, spec.hex);
      if (partsOf(unit) === undefined) throw new Error(`${unit} is no unit of a native pool`);
      try {
        await context.step("hand over credential", async () => files.give(spec.hex, JSON.stringify(spec.metadata)));
        await context.step("start unit", () => manager.start(unit, context.signal));
        // The service manager has read it: the unit has a copy that ends with it.
        files.takeBack(spec.hex);
        return {};
      } catch (error) {
        await remove(spec.hex, { ...context, signal: AbortSignal.timeout(UNDO_TIMEOUT) });
        throw error;
      }
    },
    list: async (known = () => false) => {
      const found = new Map<string, SandboxInfo>();
      for (const hex of files.untaken()) found.set(hex, partial(hex));
      for (const hex of files.ended()) found.set(hex, ended(hex, "", exitOf(hex)));
      for (const view of await manager.units()) {
        found.set(view.hex, view.isActive ? running(view) : ended(view.hex, view.pool, exitOf(view.hex)));
      }
      return [...found.values()].filter(({ hex }) => hex.startsWith(deps.hostId) && !known(hex));
    },
    remove,
    dial: (hex, signal) => dialSocket(files.socket(hex), signal),
    // Its credential is in the unit from the start, and nothing else changes.
    publish: async () => undefined,
    watch: unitWatch.watch,
    usage: (hex) => readAccount(files.account(hex))?.usage,
    console: (hex, bytes) => manager.journal(`fireteact-native-*@${hex}.service`, bytes),
    close: async () => unitWatch.close(),
  };
}

const UNDO_TIMEOUT = 60_000;

const partial = (hex: string): SandboxInfo => ({ hex, pool: "", runnerId: "", state: "partial" });

const running = ({ hex, pool, startedAt }: UnitView): SandboxInfo => ({
  hex,
  pool,
  runnerId: runnerId(pool, hex),
  state: "running",
  ...(startedAt === undefined ? {} : { startedAt }),
});

const ended = (hex: string, pool: string, exit: SandboxExit): SandboxInfo => ({
  hex,
  pool,
  runnerId: pool === "" ? "" : runnerId(pool, hex),
  state: "exited",
  exit,
});

/** Whether this host and user can have native jobs at all; that the units are right was looked at before. */
function check(credentials: string): DriverCheck {
  const install = "run as root: fireteact native install-units --user NAME, with the name of this user";
  if (!existsSync("/run/systemd/system")) {
    return { ok: false, detail: "systemd does not run here", hint: "native pools need a host started by systemd" };
  }
  try {
    accessSync(credentials, constants.W_OK | constants.X_OK);
  } catch (error) {
    return { ok: false, detail: `${credentials} cannot be used (${systemCode(error) ?? "error"})`, hint: install };
  }
  // Else this user could make the service manager, which is root, read any file for a job.
  if (process.getuid?.() !== 0 && readFileSync(LINK_PROTECTION, "utf8").trim() !== "1") {
    const hint = "set it to 1, as systemd does by itself: sysctl fs.protected_symlinks=1";
    return { ok: false, detail: "the kernel's fs.protected_symlinks is off", hint };
  }
  return { ok: true, detail: "systemd units on this host" };
}

const LINK_PROTECTION = "/proc/sys/fs/protected_symlinks";

/** The directory is the job's: what is there under the socket's name need not be one. */
function dialSocket(path: string, signal: AbortSignal): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) {
    return Promise.reject(new FireteactError("NO_CHANNEL", `there is no socket at ${path}`));
  }
  const socket = connect(path);
  const abort = () => socket.destroy(new Error("dialling was given up"));
  signal.addEventListener("abort", abort, { once: true });
  socket.once("connect", () => {
    socket.off("error", reject);
    resolve(socket);
  });
  socket.once("error", reject);
  return promise.finally(() => signal.removeEventListener("abort", abort));
}
