import type { AgentEvent } from "../../channel/messages.ts";

/**
 * What lines of gitea-runner's and forgejo-runner's log mean. Both stem from one program and say these two in the same
 * words: that they declared themselves to the forge (after which they ask for a job), and which task they have.
 */
export function understandRunnerLog(line: string): AgentEvent | undefined {
  if (/\bdeclared? successfully\b/.test(line)) return { kind: "listening" };
  const task = /\btask (\d{1,15}) repo is ([^\s"]{1,300})/.exec(line);
  if (task !== null) return { kind: "assigned", taskId: Number(task[1]), repository: task[2] ?? "" };
  return undefined;
}
