import { systemClock } from "../base/clock.ts";
import { describe, FireteactError } from "../base/errors.ts";
import { createLogger } from "../base/log.ts";
import { type AgentChannel, createAgentChannel } from "../channel/agent.ts";
import { availableEngines } from "./engines/registry.ts";
import { lookAtJob } from "./look-at-job.ts";
import { openChannel } from "./open-channel.ts";
import { type AgentOptions, parseOptions, USAGE } from "./options.ts";
import { createAgent } from "./runner.ts";
import { AGENT_VERSION } from "./version.ts";

/** How long the last events may take to reach the host, where there is one. */
const LAST_WORDS = 3_000;

/** `fireteact runner`: the arguments are those after the word. Resolves with the exit code. */
export async function runAgent(args: string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    if (args[0] === "job-started") return lookAtJob(args[1] ?? "", process.env);
    return await serve(parseOptions(args));
  } catch (error) {
    const hint = error instanceof FireteactError && error.hint !== undefined ? `\n  ${error.hint}` : "";
    process.stderr.write(`fireteact runner: ${describe(error)}${hint}\n`);
    return 1;
  }
}

async function serve(options: AgentOptions): Promise<number> {
  const log = createLogger(options.logLevel);
  if (options.unknownLevel !== undefined) {
    log.warn({ asked: options.unknownLevel }, "unknown log level; info is taken");
  }
  let engineName: string | undefined;
  const agent = createAgent(options, {
    clock: systemClock,
    log,
    report: (event) => channel.report(event),
    onEngine: (name) => {
      engineName = name;
    },
  });
  const channel: AgentChannel = createAgentChannel({
    agent: AGENT_VERSION,
    engine: () => engineName,
    onOrder: (order) => agent.onOrder(order),
    clock: systemClock,
  });
  const closeTransport = await openChannel(options.channel, (stream) => channel.attach(stream), systemClock, log);
  channel.report({ kind: "up", agent: AGENT_VERSION, engines: await availableEngines(options) });
  process.on("SIGTERM", () => agent.onSignal());
  process.on("SIGINT", () => agent.onSignal());
  const code = await agent.run();
  await channel.flush(LAST_WORDS);
  channel.close();
  closeTransport();
  return code;
}
