import type { Files, GitStore } from "./git.ts";
import type { Account, Repository, Scope } from "./records.ts";
import { INSTANCE, newToken, type World } from "./world.ts";

export interface NewRepository {
  private?: boolean;
  defaultBranch?: string;
  /** First commit; without it the repository has no git data at all. */
  files?: Files;
  /** Accounts that may read it while it is private. */
  readers?: string[];
  secrets?: Record<string, string>;
  variables?: Record<string, string>;
  /** The Actions unit; default on. */
  actions?: boolean;
}

/** People, organisations, tokens and repositories of the simulated forge. */
export interface Directory {
  addUser(name: string, options?: { admin?: boolean }): void;
  addOrganization(name: string, options: { owners: string[] }): void;
  /** @param scopes as `write:repository`, or `all` @returns an access token */
  addToken(user: string, scopes: string[]): string;
  revokeToken(token: string): void;
  /** @param name `owner/name`; the owner is made when missing, as a user */
  addRepository(name: string, options?: NewRepository): Promise<void>;
}

/** What the simulator itself asks besides. */
interface Lookups {
  account(name: string): Account;
  repository(name: string): Repository;
  /** @param name empty for the instance, an owner's name, or `owner/name` */
  scope(name: string): Scope;
}

export function createDirectory(world: World, git: GitStore): Directory & Lookups {
  function add(name: string, kind: Account["kind"], admin: boolean): Account {
    const account: Account = { id: world.nextId("account"), name, kind, admin, owners: new Set() };
    if (world.accounts.has(name.toLowerCase())) throw new Error(`the simulator already has an account ${name}`);
    world.accounts.set(name.toLowerCase(), account);
    return account;
  }

  function account(name: string): Account {
    const found = world.accounts.get(name.toLowerCase());
    if (found === undefined) throw new Error(`the simulator has no account ${name}`);
    return found;
  }

  function repository(name: string): Repository {
    const found = world.repositories.get(name.toLowerCase());
    if (found === undefined) throw new Error(`the simulator has no repository ${name}`);
    return found;
  }

  return {
    account,
    repository,
    addUser: (name, options) => {
      add(name, "user", options?.admin ?? false);
    },
    addOrganization: (name, { owners }) => {
      const organization = add(name, "organization", false);
      for (const owner of owners) organization.owners.add(account(owner).id);
    },
    addToken: (user, scopes) => {
      const value = newToken();
      world.tokens.set(value, { value, account: account(user), scopes });
      return value;
    },
    revokeToken: (token) => void world.tokens.delete(token),
    addRepository: async (fullName, options = {}) => {
      const [ownerName = "", name = ""] = fullName.split("/");
      const owner = world.accounts.get(ownerName.toLowerCase()) ?? add(ownerName, "user", false);
      const made: Repository = {
        id: world.nextId("repository"),
        owner,
        name,
        fullName,
        private: options.private ?? false,
        defaultBranch: options.defaultBranch ?? "main",
        actions: options.actions ?? true,
        readers: new Set((options.readers ?? []).map((reader) => account(reader).id)),
        secrets: options.secrets ?? {},
        variables: options.variables ?? {},
        runs: 0,
        pulls: new Map(),
        directory: undefined,
      };
      if (options.files !== undefined) await git.commit(made, made.defaultBranch, options.files, "first");
      world.repositories.set(fullName.toLowerCase(), made);
    },
    scope: (name) => {
      if (name === "") return INSTANCE;
      if (name.includes("/")) return { ownerId: 0, repositoryId: repository(name).id };
      return { ownerId: account(name).id, repositoryId: 0 };
    },
  };
}
