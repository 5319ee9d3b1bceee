import { describe } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { type ConfList, has, type PluginConf } from "./conf-list.ts";
import { type Attachment, type CniCommand, runPlugin } from "./plugin.ts";
import { type AddResult, nonsense, parseResult } from "./result.ts";

/** The plugins of a list, run one after the other as the specification says. */
export interface Chain {
  /** Attaches; the last result is to be kept for `check` and `remove`. What a failure leaves is the caller's to remove. */
  add(attachment: Attachment, signal: AbortSignal): Promise<AddResult>;
  /** Whether the attachment is still as it was made. Nothing where list or version does without. */
  check(attachment: Attachment, result: AddResult): Promise<void>;
  /** Detaches, last plugin first, every one of them; throws the first failure afterwards. Twice is success. */
  remove(attachment: Attachment, result: AddResult | undefined): Promise<void>;
  /** Lets plugins that know how to remove what belongs to none of the attachments. */
  collect(valid: { containerID: string; ifname: string }[]): Promise<void>;
  /** Throws why guests cannot be attached now, as far as the plugins can tell. */
  status(): Promise<void>;
}

export function createChain(deps: {
  list: ConfList;
  binDir: string;
  timeout?: number | undefined;
  log: Logger;
}): Chain {
  const { list, binDir, timeout, log } = deps;
  const { cniVersion, plugins } = list;

  return {
    async add(attachment, signal) {
      let result: AddResult | undefined;
      for (const plugin of plugins) {
        const printed = await run("ADD", plugin, { attachment, signal, ...previous(result) });
        if (printed === undefined) throw nonsense(plugin.type, "at ADD it printed nothing");
        result = parseResult(printed, cniVersion, plugin.type);
      }
      if (result === undefined) throw new Error("a list without plugins");
      return result;
    },

    async check(attachment, result) {
      if (list.disableCheck || !has(cniVersion, "0.4.0")) return;
      for (const plugin of plugins) await run("CHECK", plugin, { attachment, ...previous(result) });
    },

    async remove(attachment, result) {
      const failures: unknown[] = [];
      for (const plugin of plugins.toReversed()) {
        const known = has(cniVersion, "0.4.0") ? previous(result) : {};
        await run("DEL", plugin, { attachment, ...known }).catch((error: unknown) => failures.push(error));
      }
      for (const failure of failures.slice(1)) log.warn({ reason: describe(failure) }, "a CNI plugin failed at DEL");
      if (failures.length > 0) throw failures[0];
    },

    async collect(valid) {
      if (list.disableGC || !has(cniVersion, "1.1.0")) return;
      const extra = { "cni.dev/valid-attachments": valid };
      for (const plugin of plugins) {
        await run("GC", plugin, { extra }).catch((error: unknown) =>
          log.warn({ reason: describe(error) }, "a CNI plugin failed at GC"),
        );
      }
    },

    async status() {
      if (!has(cniVersion, "1.1.0")) return;
      for (const plugin of plugins) await run("STATUS", plugin, {});
    },
  };

  async function run(
    command: CniCommand,
    plugin: PluginConf,
    options: { attachment?: Attachment; signal?: AbortSignal; extra?: Record<string, unknown>; prevResult?: AddResult },
  ): Promise<unknown> {
    // What a plugin could be given at run time it is not: we have nothing of the kind.
    const { capabilities: _, ...own } = plugin;
    const { attachment, signal, extra, prevResult } = options;
    const config = {
      ...own,
      ...extra,
      cniVersion,
      name: list.name,
      ...(prevResult === undefined ? {} : { prevResult }),
    };
    return await runPlugin({
      binDir,
      command,
      plugin: plugin.type,
      config,
      timeout,
      signal,
      ...(attachment === undefined ? {} : { attachment }),
    });
  }
}

const previous = (result: AddResult | undefined): { prevResult?: AddResult } =>
  result === undefined ? {} : { prevResult: result };
