import { existsSync, readdirSync } from "node:fs";
import type { Clock, Timer } from "../../base/clock.ts";
import { describe, FireteactError, ignore } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { guestNamespace, NAMESPACE_PREFIX, type Places } from "../../base/names.ts";
import { type Commands, hostCommands } from "../embedded/commands.ts";
import { requireRoot } from "../embedded/host.ts";
import { hostNameservers } from "../embedded/nameservers.ts";
import type { GuestNetwork, Network, NetworkCheck } from "../port.ts";
import { type Chain, createChain } from "./chain.ts";
import { checkPlugins } from "./check.ts";
import { type ConfList, loadConfList } from "./conf-list.ts";
import { leaseHolders } from "./leases.ts";
import { type Attachment, INTERFACE } from "./plugin.ts";
import { type Attached, createRecords } from "./records.ts";
import { guestEnd } from "./result.ts";

export interface CniNetworkOptions {
  hostId: string;
  places: Places;
  log: Logger;
  clock: Clock;
  confDir: string;
  binDir: string;
  /** Guests' name servers, over those that the plugins name; the host's own where there are none at all. */
  nameservers?: readonly string[];
  /** For tests: milliseconds a plugin has, and between two looks at what is there (0 for none). */
  timeout?: number;
  watchEvery?: number;
  commands?: Pick<Commands, "ip">;
}

const NAMESPACES = "/run/netns";
const WATCH = 10_000;

/**
 * Networks as the plugins of a CNI configuration list make them, which decide what guests reach. Metadata is the
 * monitor's own to serve. Needs root.
 */
export function createCniNetwork(options: CniNetworkOptions): Network {
  const { hostId, places, log, clock, confDir, binDir, timeout, watchEvery = WATCH, commands = hostCommands } = options;
  const records = createRecords(places);
  /** What is being done to a guest's network: one thing after the other, as the specification wants it. */
  const turns = new Map<string, Promise<unknown>>();
  const lost = new Set<string>();
  const listeners = new Set<(hex: string, detail: string) => void>();
  let list: ConfList | undefined;
  let fallback: string[] = [];
  let timer: Timer | undefined;

  return {
    async check(): Promise<NetworkCheck> {
      try {
        requireRoot();
        const { file, list: found } = await loadConfList(confDir);
        return { ok: true, ...(await checkPlugins(found, file, binDir, chainOf(found, binDir))) };
      } catch (error) {
        if (!(error instanceof FireteactError)) throw error;
        return { ok: false, detail: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
      }
    },

    allow: () => Promise.resolve(),

    async prepare(signal) {
      requireRoot();
      const { file, list: found } = await loadConfList(confDir);
      const chain = chainOf(found, binDir);
      await checkPlugins(found, file, binDir, chain);
      list = found;
      fallback = await hostNameservers();
      signal.throwIfAborted();
      await sweep(found, chain);
      schedule();
    },

    onLost(listener) {
      listeners.add(listener);
    },

    attach: (hex, _pool, signal) => inTurn(hex, () => attach(hex, signal)),

    find: (hex) => Promise.resolve(found(hex)),

    release: (hex) => inTurn(hex, () => detach(hex)),

    list: () => Promise.resolve([...new Set([...records.all().map(({ hex }) => hex), ...namespaces()])]),

    serveMetadata: () =>
      Promise.reject(
        new FireteactError("CNI_NO_METADATA", "a guest with a CNI network reads its metadata from its monitor only", {
          hint: "leave the pool's metadata service on, or use the embedded network (remove cni from the configuration)",
        }),
      ),

    async close() {
      timer?.cancel();
      timer = undefined;
      await Promise.all(turns.values());
    },
  };

  async function attach(hex: string, signal: AbortSignal): Promise<GuestNetwork> {
    if (!/^[0-9a-f]{24}$/.test(hex)) throw new TypeError(`"${hex}" is no guest's hex`);
    if (list === undefined) {
      throw new FireteactError("NETWORK_NOT_PREPARED", "the networks of this host are not prepared", {
        hint: "prepare must have succeeded first; see why it did not",
      });
    }
    const known = found(hex);
    if (known !== undefined) return known;
    await detach(hex);
    signal.throwIfAborted();
    let record: Attached = { hex, owner: records.freeOwner(), binDir, list };
    records.write(record);
    try {
      await commands.ip([`netns add ${guestNamespace(hex)}`]);
      const result = await chainOf(list, binDir).add(attachmentOf(record), signal);
      record = { ...record, result };
      records.write(record);
      return networkOf(record);
    } catch (error) {
      await undo(record).catch((failure: unknown) =>
        log.warn(
          { sandbox: hex, reason: describe(failure) },
          "what a failed CNI attachment left could not be removed yet",
        ),
      );
      throw error;
    }
  }

  async function detach(hex: string): Promise<void> {
    const record = records.read(hex) ?? unrecorded(hex);
    if (record !== undefined) await undo(record);
    lost.delete(hex);
  }

  /** The namespace goes whatever the plugins say; the record stays until they have given everything back. */
  async function undo(record: Attached): Promise<void> {
    const failure = await chainOf(record.list, record.binDir)
      .remove(attachmentOf(record), record.result)
      .then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
    if (existsSync(pathOf(record.hex))) await commands.ip([`netns del ${guestNamespace(record.hex)}`]);
    if (failure !== undefined) throw failure.error;
    records.remove(record.hex);
  }

  /** A guest of whom nothing but a namespace or an address is left. */
  function unrecorded(hex: string): Attached | undefined {
    return existsSync(pathOf(hex)) && list !== undefined ? { hex, owner: 1, binDir, list } : undefined;
  }

  /** Takes away what a crash, or a boot, left of guests that are gone; those that are there are looked at. */
  async function sweep(current: ConfList, chain: Chain): Promise<void> {
    const swept: string[] = [];
    const tried = async (hex: string, work: () => Promise<void>): Promise<void> => {
      await inTurn(hex, work).then(
        () => swept.push(hex),
        (error: unknown) =>
          log.warn({ sandbox: hex, reason: describe(error) }, "a CNI network could not be removed yet"),
      );
    };
    for (const record of records.all()) {
      if (turns.has(record.hex)) continue;
      if (record.result === undefined || !existsSync(pathOf(record.hex))) await tried(record.hex, () => undo(record));
      else await lookAt(record);
    }
    const known = new Set(records.all().map(({ hex }) => hex));
    for (const hex of await leaseHolders(current)) {
      if (!hex.startsWith(hostId) || known.has(hex) || turns.has(hex)) continue;
      await tried(hex, () => chain.remove({ containerId: hex }, undefined));
    }
    await chain.collect(records.all().map(({ hex }) => ({ containerID: hex, ifname: INTERFACE })));
    if (swept.length > 0) log.info({ guests: swept.length }, "removed CNI networks of guests that are gone");
  }

  async function lookAt(record: Attached): Promise<void> {
    if (record.result === undefined) return;
    await chainOf(record.list, record.binDir)
      .check(attachmentOf(record), record.result)
      .catch((error: unknown) =>
        log.warn({ sandbox: record.hex, reason: describe(error) }, "a CNI plugin finds a guest's network changed"),
      );
  }

  function schedule(): void {
    timer?.cancel();
    if (watchEvery === 0) return;
    timer = clock.after(watchEvery, () => {
      for (const { hex, result } of records.all()) {
        if (result === undefined || turns.has(hex) || lost.has(hex) || existsSync(pathOf(hex))) continue;
        lost.add(hex);
        const detail = `its network namespace ${guestNamespace(hex)} was deleted by another program`;
        log.error({ sandbox: hex, detail }, "a guest's network is gone");
        for (const listener of listeners) listener(hex, detail);
      }
      if (timer !== undefined) schedule();
    });
  }

  function found(hex: string): GuestNetwork | undefined {
    const record = records.read(hex);
    return record?.result !== undefined && existsSync(pathOf(hex)) ? networkOf(record) : undefined;
  }

  function networkOf(record: Attached): GuestNetwork {
    const end = guestEnd(record.result ?? { cniVersion: "" }, { hex: record.hex, namespace: pathOf(record.hex) });
    const wanted = options.nameservers?.length ? options.nameservers : end.nameservers;
    return {
      namespace: pathOf(record.hex),
      tap: end.tap,
      guestMac: end.mac,
      guestAddress: end.address,
      gateway: end.gateway,
      nameservers: wanted.length > 0 ? [...wanted] : [...fallback],
      hostAddress: end.address.split("/")[0] ?? "",
      owner: record.owner,
    };
  }

  function namespaces(): string[] {
    return names(NAMESPACES)
      .filter((name) => name.startsWith(NAMESPACE_PREFIX))
      .map((name) => name.slice(NAMESPACE_PREFIX.length))
      .filter((hex) => /^[0-9a-f]{24}$/.test(hex) && hex.startsWith(hostId));
  }

  function chainOf(own: ConfList, plugins: string): Chain {
    return createChain({ list: own, binDir: plugins, timeout, log });
  }

  async function inTurn<T>(hex: string, work: () => Promise<T>): Promise<T> {
    const mine = (turns.get(hex) ?? Promise.resolve()).then(work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    turns.set(hex, settled);
    try {
      return await mine;
    } finally {
      if (turns.get(hex) === settled) turns.delete(hex);
    }
  }
}

const pathOf = (hex: string): string => `${NAMESPACES}/${guestNamespace(hex)}`;

function attachmentOf({ hex, owner }: Attached): Attachment {
  const namespace = pathOf(hex);
  return { containerId: hex, owner, ...(existsSync(namespace) ? { namespace } : {}) };
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    return ignore("ENOENT")(error) ?? [];
  }
}
