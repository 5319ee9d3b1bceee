import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface Delivered {
  job: number;
  /** When its last byte was handed to the kernel, on the shared clock. */
  at: number;
  status: number;
}

/** The forge simulator (a Gitea 1.25.1) in a process of its own. */
export interface BenchForge extends AsyncDisposable {
  url: string;
  token: string;
  latency(milliseconds: number): Promise<void>;
  registrationToken(): Promise<string>;
  queue(count: number, secret: string): Promise<number[]>;
  deliver(url: string, jobs: number[]): Promise<Delivered[]>;
  requests(): Promise<{ total: number; counts: Record<string, number> }>;
  forget(): Promise<void>;
}

export async function startForge(): Promise<BenchForge> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "forge-process.ts")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  void ended.then(() => {
    for (const { reject } of waiting.values()) reject(new Error("the forge's process ended"));
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { id, value } = JSON.parse(line) as { id: number; value: unknown };
    waiting.get(id)?.resolve(value);
    waiting.delete(id);
  });
  let last = 0;
  const ask = async <T>(verb: string, given: Record<string, unknown> = {}): Promise<T> => {
    const id = ++last;
    const answer = Promise.withResolvers<unknown>();
    waiting.set(id, answer);
    child.stdin.write(`${JSON.stringify({ id, verb, ...given })}\n`);
    return (await answer.promise) as T;
  };
  const { url, token } = await ask<{ url: string; token: string }>("hello");
  return {
    url,
    token,
    latency: (milliseconds) => ask("latency", { milliseconds }),
    registrationToken: () => ask("registrationToken"),
    queue: (count, secret) => ask("queue", { count, secret }),
    deliver: (to, jobs) => ask("deliver", { url: to, jobs }),
    requests: () => ask("requests"),
    forget: () => ask("forget"),
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
