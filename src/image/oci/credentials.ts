import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { FireteactError, ignore } from "../../base/errors.ts";
import { exec } from "../../base/exec.ts";

/** Proof for a registry: a name with its password, or a token that is exchanged for others. */
export type Credentials = { username: string; password: string } | { identityToken: string };

const Entry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
});

const DockerConfig = z.object({
  auths: z.record(z.string(), Entry).default({}),
  credHelpers: z.record(z.string(), z.string()).default({}),
  credsStore: z.string().optional(),
});

const HelperAnswer = z.object({ Username: z.string(), Secret: z.string() });

/** Name of Docker's own registry in its configuration. */
const DOCKER_KEY = "https://index.docker.io/v1/";

/** Where Docker keeps what `docker login` was told. */
export function dockerConfigFile(environment: NodeJS.ProcessEnv = process.env): string {
  return join(environment["DOCKER_CONFIG"] ?? join(environment["HOME"] ?? homedir(), ".docker"), "config.json");
}

/**
 * What Docker's configuration knows for a registry, from its helper, its store or its own text; undefined where nothing
 * does. Read anew each time, since `docker login` may have been called meanwhile.
 *
 * @throws FireteactError `REGISTRY_CREDENTIALS`
 */
export async function credentialsFor(
  registry: string,
  file: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const text = await readFile(file, "utf8").catch(ignore("ENOENT", "ENOTDIR"));
  if (text === undefined) return undefined;
  const config = read(text, file);
  const key = registry === "docker.io" ? DOCKER_KEY : registry;
  const helper = config.credHelpers[key] ?? config.credHelpers[registry] ?? config.credsStore;
  const told = helper === undefined || helper === "" ? undefined : await askHelper(helper, key, signal);
  return told ?? ownText(config.auths, registry, file);
}

function read(text: string, file: string): z.infer<typeof DockerConfig> {
  try {
    return DockerConfig.parse(JSON.parse(text));
  } catch {
    // Not the cause itself: it may quote what the file says.
    throw wrong(`${file} is not a configuration of Docker's`);
  }
}

function ownText(
  auths: z.infer<typeof DockerConfig>["auths"],
  registry: string,
  file: string,
): Credentials | undefined {
  const found = Object.entries(auths).find(([key]) => hostOf(key) === registry)?.[1];
  if (found === undefined) return undefined;
  const { auth = "", identitytoken = "" } = found;
  if (identitytoken !== "") return { identityToken: identitytoken };
  if (auth === "") {
    const { username = "", password = "" } = found;
    return username === "" ? undefined : { username, password };
  }
  const plain = Buffer.from(auth, "base64").toString();
  const colon = plain.indexOf(":");
  if (colon < 1) throw wrong(`${file}: auth of ${registry} is not a name and a password in base64`);
  return { username: plain.slice(0, colon), password: plain.slice(colon + 1).replace(/\0+$/, "") };
}

/** Keys are hosts, or addresses as Docker's own registry has one. */
function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, "").split("/")[0] ?? "";
  return host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host.toLowerCase();
}

async function askHelper(name: string, key: string, signal: AbortSignal): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw wrong(`${JSON.stringify(name)} is not the name of a credential helper`);
  const program = `docker-credential-${name}`;
  const { code, stdout } = await exec(program, ["get"], {
    input: key,
    signal,
    accept: [0, 1],
    // They find their own configuration by it.
    env: process.env,
  }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw wrong(`The credential helper ${program} does not work`, error);
  });
  if (code === 1) {
    if (/not found/i.test(stdout)) return undefined;
    throw wrong(`The credential helper ${program} has failed for ${key}`);
  }
  try {
    const { Username, Secret } = HelperAnswer.parse(JSON.parse(stdout));
    return Username === "<token>" ? { identityToken: Secret } : { username: Username, password: Secret };
  } catch {
    throw wrong(`The credential helper ${program} answers what cannot be understood`);
  }
}

const wrong = (message: string, cause?: unknown): FireteactError =>
  new FireteactError("REGISTRY_CREDENTIALS", message, { hint: "Log in again: docker login REGISTRY", cause });
