import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import * as z from "zod";
import { type Answer, type Connections, openConnections, unreachable } from "./connections.ts";
import { type Credentials, credentialsFor } from "./credentials.ts";
import { lied, RegistryError } from "./errors.ts";
import { MANIFEST_TYPES } from "./manifest.ts";
import { DIGEST, type ImageReference } from "./reference.ts";

/** What the host's owner says of a registry. */
export interface RegistrySettings {
  /** Addresses that are asked before it, in this order. */
  mirrors: readonly string[];
  /** It has no TLS. */
  plainHttp: boolean;
  /** Certificate authority, PEM, trusted besides the system's. */
  caFile?: string;
}

/** One place that an image can be had from: the registry itself, or a mirror of it. */
export interface Source {
  /** Host, for messages. */
  name: string;
  /** A manifest with the digest of its bytes. */
  manifest(version: string, signal: AbortSignal): Promise<{ text: string; digest: string }>;
  /** What a tag points to now, as far as the registry says it. */
  digestOf(tag: string, signal: AbortSignal): Promise<string | undefined>;
  /** A blob from a byte on; `start` is where the answer really begins. */
  blob(digest: string, from: number, signal: AbortSignal): Promise<{ body: Readable; start: number }>;
  close(): Promise<void>;
}

const MOST_MANIFEST = 4 * 1024 * 1024;
const MOST_TOKEN = 256 * 1024;

const Token = z.object({ token: z.string().optional(), access_token: z.string().optional() });

/** The mirrors of a reference's registry and then the registry, each asked with the credentials for its own host. */
export function sourcesOf(reference: ImageReference, settings: RegistrySettings, authFile: string): Source[] {
  const { registry } = reference;
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const own = { base: new URL(`${settings.plainHttp ? "http" : "https"}://${host}`), plain: settings.plainHttp };
  const mirrors = settings.mirrors.map((mirror) => ({ base: new URL(mirror), plain: mirror.startsWith("http:") }));
  return [...mirrors.map((mirror) => ({ ...mirror, login: mirror.base.host })), { ...own, login: registry }].map(
    (place) => createSource({ ...place, repository: reference.repository, caFile: settings.caFile, authFile }),
  );
}

interface SourceOptions {
  base: URL;
  plain: boolean;
  /** Whose credentials are used. */
  login: string;
  repository: string;
  caFile: string | undefined;
  authFile: string;
}

function createSource({ base, plain, login, repository, caFile, authFile }: SourceOptions): Source {
  let opened: Connections | undefined;
  let authorization: string | undefined;
  const connections = (): Connections => (opened ??= openConnections(caFile));
  const prefix = `${base.href.replace(/\/+$/, "")}/v2/${repository}`;

  interface Call {
    method?: "GET" | "HEAD";
    headers?: Record<string, string>;
    signal: AbortSignal;
  }

  async function call(path: string, what: string, options: Call): Promise<Answer> {
    const url = new URL(`${prefix}${path}`);
    const send = () => connections().send(url, { ...options, authorization, plain });
    let answer = await send();
    if (answer.status === 401) {
      await answer.body.dump().catch(() => undefined);
      authorization = await authorize(answer, options.signal);
      answer = await send();
    }
    if (answer.status >= 200 && answer.status < 300) return answer;
    await answer.body.dump().catch(() => undefined);
    throw fromStatus(answer, what);
  }

  /** Finds out from a refusal what the registry wants to see. */
  async function authorize(refusal: Answer, signal: AbortSignal): Promise<string> {
    const header = refusal.headers["www-authenticate"];
    const challenges = (Array.isArray(header) ? header : [header ?? ""]).map(readChallenge);
    const credentials = await credentialsFor(login, authFile, signal);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) return `Bearer ${await token(bearer.parameters, credentials, signal)}`;
    const isBasic = challenges.some(({ scheme }) => scheme === "basic");
    if (isBasic && credentials !== undefined && "username" in credentials) return basic(credentials);
    throw refused(login, credentials !== undefined);
  }

  async function token(
    parameters: ReadonlyMap<string, string>,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const realm = URL.parse(parameters.get("realm") ?? "");
    if (realm === null) throw new RegistryError("REGISTRY_ANSWER", `${login} names no place that gives tokens`);
    const scope = `repository:${repository}:pull`;
    const service = parameters.get("service") ?? login;
    const fields = { service, scope, client_id: "fireteact" };
    const common = { plain, signal };
    let answer: Answer;
    if (credentials !== undefined && "identityToken" in credentials) {
      const form = { ...fields, grant_type: "refresh_token", refresh_token: credentials.identityToken };
      answer = await connections().send(realm, {
        ...common,
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(form).toString(),
      });
    } else {
      for (const [name, value] of Object.entries(fields)) realm.searchParams.set(name, value);
      const proof = credentials === undefined ? undefined : basic(credentials);
      answer = await connections().send(realm, { ...common, authorization: proof });
    }
    if (answer.status === 401 || answer.status === 403) {
      await answer.body.dump().catch(() => undefined);
      throw refused(login, credentials !== undefined);
    }
    if (answer.status !== 200) throw fromStatus(answer, "a token");
    const given = readToken(await readText(answer, MOST_TOKEN));
    if (given === undefined)
      throw new RegistryError("REGISTRY_ANSWER", `${realm.host} gives no token that can be used`);
    return given;
  }

  return {
    name: base.host,

    async manifest(version, signal) {
      const what = `${repository}${version.startsWith("sha256:") ? "@" : ":"}${version}`;
      const answer = await call(`/manifests/${version}`, what, {
        headers: { accept: MANIFEST_TYPES.join(", ") },
        signal,
      });
      const text = await readText(answer, MOST_MANIFEST);
      const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
      if (DIGEST.test(version) && digest !== version) {
        throw lied(`${base.host} gave another manifest than ${repository}@${version}`, { got: digest });
      }
      return { text, digest };
    },

    async digestOf(tag, signal) {
      const headers = { accept: MANIFEST_TYPES.join(", ") };
      const answer = await call(`/manifests/${tag}`, `${repository}:${tag}`, { method: "HEAD", headers, signal });
      await answer.body.dump().catch(() => undefined);
      const digest = answer.headers["docker-content-digest"];
      return typeof digest === "string" && DIGEST.test(digest) ? digest : undefined;
    },

    async blob(digest, from, signal) {
      const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
      const {
        body,
        status,
        headers: told,
      } = await call(`/blobs/${digest}`, `${repository}@${digest}`, { headers, signal });
      if (status !== 206) return { body, start: 0 };
      const start = /^bytes (\d{1,15})-/.exec(String(told["content-range"]))?.[1];
      if (start === undefined || Number(start) > from) {
        body.destroy();
        throw new RegistryError("REGISTRY_ANSWER", `${base.host} gives another part of a blob than was asked for`);
      }
      return { body, start: Number(start) };
    },

    close: async () => await opened?.close(),
  };
}

const basic = (credentials: Credentials): string =>
  "username" in credentials
    ? `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`
    : "";

/** `Bearer realm="...",service="..."`; what cannot be read has no scheme. */
function readChallenge(text: string): { scheme: string; parameters: ReadonlyMap<string, string> } {
  const bounded = text.slice(0, 4_096);
  const scheme = /^[A-Za-z]+/.exec(bounded)?.[0].toLowerCase() ?? "";
  const pairs = bounded.matchAll(/([a-z_]{1,32})="([^"]{0,2048})"/gi);
  return { scheme, parameters: new Map([...pairs].map(([, name = "", value = ""]) => [name.toLowerCase(), value])) };
}

function readToken(text: string): string | undefined {
  try {
    const { token = "", access_token = "" } = Token.parse(JSON.parse(text));
    const given = token === "" ? access_token : token;
    // It becomes a header.
    return /^[\x21-\x7e]+$/.test(given) ? given : undefined;
  } catch {
    return undefined;
  }
}

async function readText({ body, host }: Answer, most: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > most) throw lied(`${host} gives more than ${most} bytes where a manifest or token should be`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof RegistryError ? error : unreachable(host, error);
  }
  return Buffer.concat(chunks).toString();
}

const refused = (login: string, hadCredentials: boolean): RegistryError =>
  hadCredentials
    ? new RegistryError("REGISTRY_REFUSED", `The registry ${login} refuses the credentials of this host`, {
        hint: `Log in again: docker login ${login}`,
      })
    : new RegistryError("REGISTRY_REFUSED", `The registry ${login} wants to know who asks`, {
        hint: `docker login ${login}, as the service's user, or name a Docker configuration with images.authFile`,
      });

function fromStatus({ status, headers, host }: Answer, what: string): RegistryError {
  if (status === 404) {
    return new RegistryError("IMAGE_NOT_FOUND", `The registry ${host} has no ${what}`, {
      hint: "Check name and tag; some registries say so, too, of images that need a login",
    });
  }
  if (status === 401 || status === 403) return refused(host, true);
  if (status === 429 || status === 503) {
    const seconds = Number(headers["retry-after"]);
    return new RegistryError("REGISTRY_BUSY", `The registry ${host} asks to be left alone for a while (${status})`, {
      hint: "Log in, which raises the limits of public registries, or use a mirror",
      transient: true,
      ...(seconds > 0 ? { retryAfter: Math.min(seconds * 1_000, 300_000) } : {}),
    });
  }
  const message = `The registry ${host} answers ${status} to a request for ${what}`;
  return new RegistryError("REGISTRY_ANSWER", message, { transient: status >= 500 });
}
