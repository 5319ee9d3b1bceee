import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { FireteactError } from "../base/errors.ts";

/** A request to the metadata address may take this long, as in the original. */
const REQUEST_LIMIT = 10_000;
const TOKEN_SECONDS = "21600";
/** The host's store holds at most 51200 bytes. */
const LARGEST_ANSWER = 256 * 1024;

/** Reads the metadata of this sandbox: asks for a session token first, so that both versions of the service answer. */
export interface MetadataClient {
  /** The JSON at the path, or undefined where there is none. Rejects when the service does not answer as it should. */
  read(path: string, signal: AbortSignal): Promise<unknown>;
}

interface Answer {
  status: number;
  body: string;
}

/** `address` is `http://<host>[:<port>]`, `unix:<path>` or `file:<path>`, which holds the whole tree as JSON. */
export function createMetadataClient(address: string): MetadataClient {
  if (address.startsWith("file:")) return fileMetadata(address.slice("file:".length));
  const target = targetOf(address);
  let token: string | undefined;

  return {
    async read(path, signal) {
      token ??= await fetchToken(signal);
      let answer = await fetchPath(path, signal);
      if (answer.status === 401) {
        // Tokens end with the service's process, and with the template that this sandbox may be a clone of.
        token = await fetchToken(signal);
        answer = await fetchPath(path, signal);
      }
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw failed(path, `status ${answer.status}`);
      try {
        return JSON.parse(answer.body) as unknown;
      } catch (error) {
        throw failed(path, "no JSON", error);
      }
    },
  };

  /** Empty where the service knows no tokens: those never ask for one. */
  async function fetchToken(signal: AbortSignal): Promise<string> {
    const answer = await send("PUT", "/latest/api/token", { "X-metadata-token-ttl-seconds": TOKEN_SECONDS }, signal);
    return answer.status === 200 && /^[\x21-\x7e]{1,200}$/.test(answer.body) ? answer.body : "";
  }

  async function fetchPath(path: string, signal: AbortSignal): Promise<Answer> {
    const session = token ? { "X-metadata-token": token, "X-aws-ec2-metadata-token": token } : {};
    return await send("GET", path, { Accept: "application/json", ...session }, signal);
  }

  async function send(
    method: string,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_LIMIT)]);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    // One connection a request: clones of a template would share a kept one.
    const call = request({ ...target, method, path, headers, signal: limit, agent: false }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on("data", (part: Buffer) => {
        parts.push(part);
        size += part.length;
        if (size > LARGEST_ANSWER) response.destroy(failed(path, "the answer is too long"));
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString("utf8") }),
      );
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end();
    return await promise;
  }
}

/** What a service manager put there for this sandbox alone. */
function fileMetadata(file: string): MetadataClient {
  return {
    read: async (path) => {
      let found: unknown;
      try {
        found = JSON.parse(await readFile(file, "utf8"));
      } catch (error) {
        throw failed(path, `${file} cannot be read`, error);
      }
      for (const key of path.split("/").filter((part) => part !== "")) {
        if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) return undefined;
        found = (found as Record<string, unknown>)[key];
      }
      return found;
    },
  };
}

function targetOf(address: string): { socketPath: string } | { host: string; port: number } {
  if (address.startsWith("unix:")) return { socketPath: address.slice("unix:".length) };
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.protocol !== "http:") {
    throw new FireteactError("BAD_ARGUMENTS", `--metadata: "${address}" is no address of a metadata service`, {
      hint: "write http://HOST[:PORT], unix:PATH or file:PATH",
    });
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 80) };
}

function failed(path: string, detail: string, cause?: unknown): FireteactError {
  return new FireteactError("METADATA_FAILED", `reading ${path} from the metadata failed: ${detail}`, { cause });
}
