import { actionOf, defineCommand, usage } from "./command.ts";
import { askDaemon, DAEMON_GROUP, DAEMON_OPTIONS } from "./daemon.ts";
import { table } from "./render/table.ts";
import { fill } from "./render/text.ts";

interface PoolAnswer {
  name: string;
  driver: string;
  maxRunners: number;
  currentRunners: number;
  idleRunners: number;
  busyRunners: number;
  paused: boolean;
  usable: boolean;
  detail?: string;
}

export const pools = defineCommand<{ pools: PoolAnswer[] }>({
  name: "pools",
  summary: "list the pools; pause one, resume it",
  details: "A paused pool makes no more runners, also after a restart; those it has go on.",
  group: DAEMON_GROUP,
  args: [
    { name: "[action]", description: "list (default), pause or resume" },
    { name: "[pool]", description: "the pool to pause or resume" },
  ],
  options: DAEMON_OPTIONS,
  examples: ["fireteact pools", "fireteact pools pause small"],
  run: async (context) => {
    const [given, name] = context.args;
    const action = actionOf("pools", given, ["list", "pause", "resume"]);
    if (action !== "list") {
      if (name === undefined) throw usage(`${action} which pool?`, `fireteact pools ${action} NAME`);
      await askDaemon(context, "POST", `/api/v1/pools/${encodeURIComponent(name)}/${action}`);
    }
    return askDaemon(context, "GET", "/api/v1/pools");
  },
  render: ({ pools: list }) => {
    const rows = list.map((pool) => [
      pool.name,
      pool.driver,
      `${pool.currentRunners} of ${pool.maxRunners}`,
      String(pool.busyRunners),
      String(pool.idleRunners),
      stateOf(pool),
    ]);
    const unusable = list.filter(({ usable, detail }) => !usable && detail !== undefined);
    const notes = unusable.map(({ name, detail }) => `\n${fill(`${name}: `, detail ?? "")}`);
    return [table(["POOL", "DRIVER", "RUNNERS", "BUSY", "IDLE", "STATE"], rows), ...notes].join("\n");
  },
});

function stateOf({ paused, usable }: PoolAnswer): string {
  if (!usable) return paused ? "paused, unusable" : "unusable";
  return paused ? "paused" : "active";
}
