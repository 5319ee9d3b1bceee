import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { atExit } from "../base/at-exit.ts";
import { FireteactError } from "../base/errors.ts";
import type { Answer, SimulatedRequest } from "./http/message.ts";
import type { Repository } from "./records.ts";

const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
const run = promisify(execFile);

/** Content by path; a file that starts with `#!` is executable. */
export type Files = Record<string, string>;

/** Bare repositories in a directory of their own, made by the real git. */
export interface GitStore {
  /** Adds a commit with these files on top of a branch, and makes the repository when there is none. @returns its id */
  commit(repository: Repository, branch: string, files: Files, message: string): Promise<string>;
  /** Commit id of a branch, tag or id; undefined where there is none. */
  resolve(repository: Repository, name: string): Promise<string | undefined>;
  archive(repository: Repository, commit: string, format: "tar.gz" | "zip"): Promise<Buffer>;
  /** Git's own HTTP protocol for reading. @param path below the repository, as `info/refs` */
  serve(repository: Repository, path: string, request: SimulatedRequest): Promise<Answer>;
  close(): Promise<void>;
}

export function createGitStore(): GitStore {
  let root: string | undefined;
  let keep: (() => void) | undefined;
  const directory = () => {
    if (root !== undefined) return root;
    const made = mkdtempSync(join(tmpdir(), "fireteact-forge-"));
    // A process that exits without `close` should leave nothing either.
    keep = atExit(() => rmSync(made, { recursive: true, force: true }));
    root = made;
    return made;
  };

  return {
    commit: async (repository, branch, files, message) => {
      if (repository.directory === undefined) {
        const path = join(directory(), `${repository.id}.git`);
        await mkdir(path);
        await git(path, ["init", "--quiet", "--bare", `--initial-branch=${repository.defaultBranch}`]);
        await git(path, ["config", "uploadpack.allowAnySHA1InWant", "true"]);
        await git(path, ["config", "http.receivepack", "false"]);
        repository.directory = path;
      }
      const parent = await resolve(repository.directory, `refs/heads/${branch}`);
      await git(repository.directory, ["fast-import", "--quiet"], importStream(branch, files, message, parent));
      const commit = await resolve(repository.directory, `refs/heads/${branch}`);
      if (commit === undefined) throw gitFailed("the commit was not made");
      return commit;
    },
    resolve: async (repository, name) =>
      repository.directory === undefined ? undefined : resolve(repository.directory, name),
    archive: (repository, commit, format) =>
      git(home(repository), ["archive", `--format=${format}`, `--prefix=${repository.name.toLowerCase()}/`, commit]),
    serve: (repository, path, request) => backend(home(repository), path, request),
    close: async () => {
      keep?.();
      if (root !== undefined) await rm(root, { recursive: true, force: true });
    },
  };
}

const home = (repository: Repository): string => {
  if (repository.directory === undefined) throw gitFailed(`${repository.fullName} has no files`);
  return repository.directory;
};

async function resolve(directory: string, name: string): Promise<string | undefined> {
  if (name.startsWith("-")) return undefined;
  const args = ["-C", directory, "rev-parse", "--verify", "--quiet", `${name}^{commit}`];
  try {
    return (await run("git", args, { env: environment() })).stdout.trim();
  } catch (error) {
    // Exit code 1 says that there is no such commit.
    if ((error as { code?: unknown }).code === 1) return undefined;
    throw error;
  }
}

/** One commit in git's import format. */
function importStream(branch: string, files: Files, message: string, parent: string | undefined): Buffer {
  const parts: Buffer[] = [];
  const line = (text: string) => parts.push(Buffer.from(`${text}\n`));
  const data = (text: string) => {
    const bytes = Buffer.from(text);
    line(`data ${bytes.length}`);
    parts.push(bytes, Buffer.from("\n"));
  };
  line(`commit refs/heads/${branch}`);
  line("committer Forge Simulator <simulator@localhost> 1700000000 +0000");
  data(message);
  if (parent !== undefined) line(`from ${parent}`);
  for (const [path, content] of Object.entries(files)) {
    line(`M ${content.startsWith("#!") ? "100755" : "100644"} inline ${JSON.stringify(path)}`);
    data(content);
  }
  line("");
  return Buffer.concat(parts);
}

/** Runs `git http-backend` as a CGI program. */
async function backend(directory: string, path: string, request: SimulatedRequest): Promise<Answer> {
  const output = await capture("git", ["http-backend"], request.body, {
    ...environment(),
    GIT_PROJECT_ROOT: directory,
    GIT_HTTP_EXPORT_ALL: "1",
    PATH_INFO: `/${path}`,
    REQUEST_METHOD: request.method,
    QUERY_STRING: request.query.toString(),
    CONTENT_TYPE: request.headers.get("content-type") ?? "",
    CONTENT_LENGTH: String(request.body.length),
    HTTP_CONTENT_ENCODING: request.headers.get("content-encoding") ?? "",
    GIT_PROTOCOL: request.headers.get("git-protocol") ?? "",
  });
  const end = output.indexOf("\r\n\r\n");
  if (end < 0) throw gitFailed("http-backend gave no headers");
  const headers: Record<string, string> = {};
  for (const header of output.subarray(0, end).toString("latin1").split("\r\n")) {
    const colon = header.indexOf(":");
    headers[header.slice(0, colon).toLowerCase()] = header.slice(colon + 1).trim();
  }
  const { status = "200", ...others } = headers;
  return { status: Number.parseInt(status, 10), headers: others, body: output.subarray(end + 4) };
}

const git = (directory: string, args: string[], input: Buffer = Buffer.alloc(0)): Promise<Buffer> =>
  capture("git", ["-C", directory, ...args], input, environment());

/** Git without anybody's own settings. */
const environment = (): NodeJS.ProcessEnv => ({
  PATH: process.env["PATH"],
  HOME: "/nonexistent",
  LC_ALL: "C",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_COUNT: "1",
  GIT_CONFIG_KEY_0: "safe.directory",
  GIT_CONFIG_VALUE_0: "*",
});

function capture(program: string, args: string[], input: Buffer, env: NodeJS.ProcessEnv): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const child = spawn(program, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  const output: Buffer[] = [];
  const trouble: Buffer[] = [];
  let size = 0;
  child.stdout.on("data", (part: Buffer) => {
    size += part.length;
    if (size > MAX_OUTPUT_BYTES) child.kill("SIGKILL");
    else output.push(part);
  });
  child.stderr.on("data", (part: Buffer) => trouble.push(part));
  child.on("error", (error) => reject(gitFailed(error.message)));
  child.on("close", (code) => {
    if (code === 0) resolve(Buffer.concat(output));
    else reject(gitFailed(Buffer.concat(trouble).toString("utf8").trim() || `it ended with ${code}`));
  });
  // A child that ends early closes its input; its exit code tells why.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  return promise;
}

const gitFailed = (reason: string) =>
  new FireteactError("SIMULATOR_GIT", `git failed in the forge simulator: ${reason}`, {
    hint: "the simulator needs the git command",
  });
