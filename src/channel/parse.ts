import * as z from "zod";
import type { AgentEvent } from "./messages.ts";

/**
 * What the host accepts from an agent. Everything is a claim of a guest that may be hostile: texts are bounded and
 * unknown keys are dropped.
 */
const count = z.number().int().nonnegative();
const name = z.string().max(500);
const detail = z.string().max(4_000);

const helloSchema = z.object({
  kind: z.literal("hello"),
  nonce: z.string().max(100),
  version: count,
  agent: z.string().max(100),
  next: count,
  engine: z.string().max(100).optional(),
});
export type AgentHello = z.infer<typeof helloSchema>;

const messageSchema = z.discriminatedUnion("kind", [
  helloSchema,
  z.object({ kind: z.literal("event"), seq: count, at: z.number(), event: z.unknown() }),
  z.object({ kind: z.literal("pong"), id: count, next: count.optional() }),
]);

const eventSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("up"), agent: name, engines: z.array(name).max(20) }),
  z.object({ kind: z.literal("starting"), engine: name }),
  z.object({ kind: z.literal("listening") }),
  z.object({
    kind: z.literal("assigned"),
    taskId: count.optional(),
    name: name.optional(),
    repository: name.optional(),
    runId: name.optional(),
  }),
  z.object({ kind: z.literal("first-step") }),
  z.object({
    kind: z.literal("job-finished"),
    result: z.enum(["success", "failure", "cancelled", "skipped"]).optional(),
  }),
  z.object({ kind: z.literal("drained") }),
  z.object({ kind: z.literal("engine-exited"), code: z.number().int(), detail: detail.optional() }),
  z.object({ kind: z.literal("log"), stream: z.enum(["engine", "job", "agent"]), text: z.string().max(64 * 1024) }),
  z.object({ kind: z.literal("failed"), detail }),
]);

/** The envelope; an event's inside is read apart, since its number counts even when we do not know the event. */
export type AgentEnvelope = z.infer<typeof messageSchema>;

export function parseAgentMessage(value: unknown): AgentEnvelope | undefined {
  return messageSchema.safeParse(value).data;
}

export function parseAgentEvent(value: unknown): AgentEvent | undefined {
  // The schema's optional keys are absent or set, never undefined: JSON cannot say undefined.
  return eventSchema.safeParse(value).data as AgentEvent | undefined;
}
