import { createHash, randomBytes } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type {
  AccessToken,
  Account,
  Hook,
  Job,
  RegistrationToken,
  Repository,
  Run,
  Runner,
  Scope,
  Task,
} from "./records.ts";
import type { Traits } from "./traits.ts";

/** Nasty habits of real forges, switchable while the simulator runs. */
export interface Behaviours {
  /** Two runners that fetch at once see the same job; the loser gets no task but the newest counter. */
  oldRace: boolean;
  /** How long a fetch looks at its job before it takes it, in milliseconds; only with `oldRace`. */
  raceWindowMs: number;
  /** A row changes its place between two pages of the runner list. */
  pageDrift: boolean;
  /** Every `completed` webhook is sent this many times. */
  completedTimes: number;
  /** The server deletes an ephemeral row when it stops its task, so the runner never hears of the cancel. */
  rowGoneAtCancel: boolean;
  /** Webhooks to loopback and private addresses are refused, as by a default ALLOWED_HOST_LIST. */
  externalHooksOnly: boolean;
}

export const DEFAULT_BEHAVIOURS: Behaviours = {
  oldRace: false,
  raceWindowMs: 20,
  pageDrift: false,
  completedTimes: 1,
  rowGoneAtCancel: true,
  externalHooksOnly: false,
};

export type Change =
  | { kind: "job"; job: Job; action: "waiting" | "queued" | "in_progress" | "completed" }
  | { kind: "run"; run: Run; action: "requested" | "in_progress" | "completed" };

/** Everything that the simulated forge knows. */
export interface World {
  readonly traits: Traits;
  readonly clock: Clock;
  readonly behaviours: Behaviours;
  /** Address with base path, without a final slash, as the forge writes it into its answers. */
  url: string;
  /** Where actions without an address live. */
  actionsUrl: string;
  readonly accounts: Map<string, Account>;
  readonly tokens: Map<string, AccessToken>;
  /** By full name in lower case. */
  readonly repositories: Map<string, Repository>;
  readonly runs: Map<number, Run>;
  readonly jobs: Map<number, Job>;
  /** Jobs that a runner may take, kept apart so that a fetch does not walk all of them. */
  readonly ready: Set<Job>;
  readonly tasks: Map<number, Task>;
  /** Deleted ones included. */
  readonly runners: Map<number, Runner>;
  readonly hooks: Map<number, Hook>;
  readonly registrationTokens: Map<string, RegistrationToken[]>;
  /** The tasks version of each scope. */
  readonly counters: Map<string, number>;
  readonly listeners: Set<(change: Change) => void>;
  nextId(kind: string): number;
}

export function createWorld(traits: Traits, clock: Clock, behaviours: Partial<Behaviours>): World {
  const ids = new Map<string, number>();
  return {
    traits,
    clock,
    behaviours: { ...DEFAULT_BEHAVIOURS, ...behaviours },
    url: "",
    actionsUrl: "",
    accounts: new Map(),
    tokens: new Map(),
    repositories: new Map(),
    runs: new Map(),
    jobs: new Map(),
    ready: new Set(),
    tasks: new Map(),
    runners: new Map(),
    hooks: new Map(),
    registrationTokens: new Map(),
    counters: new Map(),
    listeners: new Set(),
    nextId: (kind) => {
      const id = (ids.get(kind) ?? 0) + 1;
      ids.set(kind, id);
      return id;
    },
  };
}

export function announce(world: World, change: Change): void {
  for (const listener of world.listeners) listener(change);
}

export const INSTANCE: Scope = { ownerId: 0, repositoryId: 0 };
export const scopeKey = (scope: Scope): string => `${scope.ownerId}/${scope.repositoryId}`;
export const sameScope = (a: Scope, b: Scope): boolean => a.ownerId === b.ownerId && a.repositoryId === b.repositoryId;

/** Whether runners or hooks of a scope serve a repository. */
export function covers(scope: Scope, repository: Repository): boolean {
  if (scope.repositoryId !== 0) return scope.repositoryId === repository.id;
  return scope.ownerId === 0 || scope.ownerId === repository.owner.id;
}

/** The scopes whose counters move when a job of this repository becomes ready. */
export function scopesOf(repository: Repository): Scope[] {
  return [INSTANCE, { ownerId: repository.owner.id, repositoryId: 0 }, { ownerId: 0, repositoryId: repository.id }];
}

/** 40 hexadecimal digits, as the forges make all their tokens. */
export const newToken = (): string => randomBytes(20).toString("hex");
export const hashToken = (token: string, salt: string): string =>
  createHash("sha256").update(`${salt}:${token}`).digest("hex");
