import { defineCommand } from "./command.ts";
import { askDaemon, DAEMON_GROUP, DAEMON_OPTIONS } from "./daemon.ts";

export const drain = defineCommand<{ draining: boolean }>({
  name: "drain",
  summary: "let running jobs end, then stop the daemon",
  details: "No more runners are made. The daemon stops when the last job has ended, or after drainTimeout.",
  group: DAEMON_GROUP,
  options: DAEMON_OPTIONS,
  run: (context) => askDaemon(context, "POST", "/api/v1/drain"),
  render: () => "draining: running jobs go on to their end, then the daemon stops",
});
