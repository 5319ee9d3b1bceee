import { randomUUID } from "node:crypto";
import type { RegistrationToken, Runner, Scope } from "./records.ts";
import { hashToken, newToken, sameScope, scopeKey, type World } from "./world.ts";

const ONLINE_MS = 60_000;
const BUSY_MS = 10_000;
const NAME_LENGTH = 255;

export interface NewRunner {
  name: string;
  description?: string;
  scope: Scope;
  labels: string[];
  version: string;
  ephemeral: boolean;
  capabilities?: string[];
}

/** Adds a row; its secret is known only from here. */
export function addRunner(world: World, given: NewRunner): { runner: Runner; secret: string } {
  const secret = newToken();
  const salt = newToken().slice(0, 10);
  const now = world.clock.now();
  const runner: Runner = {
    id: world.nextId("runner"),
    uuid: randomUUID(),
    salt,
    secretHash: hashToken(secret, salt),
    name: given.name.slice(0, NAME_LENGTH),
    description: given.description ?? "",
    scope: given.scope,
    labels: given.labels,
    version: given.version,
    ephemeral: given.ephemeral,
    disabled: false,
    capabilities: given.capabilities ?? [],
    tasks: [],
    createdAt: now,
    lastOnline: 0,
    lastActive: 0,
    deletedAt: 0,
  };
  world.runners.set(runner.id, runner);
  return { runner, secret };
}

/** The runner that an RPC's headers name, if its secret fits and its row exists. */
export function authenticateRunner(world: World, uuid: string, secret: string): Runner | undefined {
  for (const runner of world.runners.values()) {
    if (runner.uuid !== uuid) continue;
    return runner.deletedAt === 0 && runner.secretHash === hashToken(secret, runner.salt) ? runner : undefined;
  }
  return undefined;
}

/** A soft delete: the row is gone for everybody but the simulator's own records. */
export function deleteRunner(world: World, runner: Runner): void {
  if (runner.deletedAt === 0) runner.deletedAt = world.clock.now();
}

export function findRunner(world: World, id: number): Runner | undefined {
  const runner = world.runners.get(id);
  return runner?.deletedAt === 0 ? runner : undefined;
}

/** Existing rows, last seen first: an order that moves while somebody pages through it. */
export function listRunners(world: World, accept: (runner: Runner) => boolean): Runner[] {
  return [...world.runners.values()]
    .filter((runner) => runner.deletedAt === 0 && accept(runner))
    .sort((a, b) => b.lastOnline - a.lastOnline || a.id - b.id);
}

/** The last row of a list speaks up, so that all others move down by one before the next page is read. */
export function driftRunners(world: World, runners: Runner[]): void {
  const last = runners.at(-1);
  const first = runners[0];
  if (last !== undefined && first !== undefined) last.lastOnline = Math.max(world.clock.now(), first.lastOnline + 1);
}

export const isOnline = (world: World, runner: Runner): boolean => world.clock.now() - runner.lastOnline < ONLINE_MS;
export const isBusy = (world: World, runner: Runner): boolean => world.clock.now() - runner.lastActive < BUSY_MS;
export const isOwnedAt = (runner: Runner, scope: Scope): boolean => sameScope(runner.scope, scope);

/** The scope's active registration token; made when there is none. */
export function registrationToken(world: World, scope: Scope): string {
  const newest = world.registrationTokens.get(scopeKey(scope))?.at(-1);
  return newest?.active === true ? newest.value : resetRegistrationToken(world, scope);
}

/** Makes a new token and invalidates all older ones of the scope. */
export function resetRegistrationToken(world: World, scope: Scope): string {
  const older = world.registrationTokens.get(scopeKey(scope)) ?? [];
  const token: RegistrationToken = { value: newToken(), active: true };
  world.registrationTokens.set(scopeKey(scope), [...older.map((row) => ({ ...row, active: false })), token]);
  return token.value;
}

export function findRegistrationToken(world: World, value: string): { scope: Scope; active: boolean } | undefined {
  for (const [key, rows] of world.registrationTokens) {
    const row = rows.find((candidate) => candidate.value === value);
    const [ownerId = 0, repositoryId = 0] = key.split("/").map(Number);
    if (row !== undefined) return { scope: { ownerId, repositoryId }, active: row.active };
  }
  return undefined;
}
