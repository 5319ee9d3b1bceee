import { resolve } from "node:path";
import { actionOf, defineCommand, usage } from "./command.ts";
import { placesFromEnvironment } from "./places.ts";

interface StoreResult {
  /** The copy, and what is in it. */
  file: string;
  runners: number;
  history: number;
}

export const store = defineCommand<StoreResult>({
  name: "store",
  summary: "back up the store, also while the daemon runs",
  details:
    "Copies records and history into one file, without the runners' secrets. To put it back: stop the daemon, move the copy to state.db in the state directory, and remove state.db-wal there.",
  args: [
    { name: "<action>", description: "backup" },
    { name: "[file]", description: "the file to write, which must not be there" },
  ],
  examples: ["sudo fireteact store backup /var/backups/fireteact.db"],
  run: async ({ args: [given, file] }) => {
    actionOf("store", given, ["backup"]);
    if (file === undefined) throw usage("back up to which file?", "fireteact store backup FILE");
    const { backUpStore } = await import("../store/copy.ts");
    return backUpStore(placesFromEnvironment().state, resolve(file));
  },
  render: ({ file, runners, history }) =>
    `copied to ${file}: ${runners} ${runners === 1 ? "runner" : "runners"} and ${history} of the history`,
});
