import { readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";
import { type Dispatcher, EnvHttpProxyAgent, request } from "undici";
import { describe, FireteactError } from "../../base/errors.ts";
import { RegistryError } from "./errors.ts";

export interface Answer {
  status: number;
  headers: Dispatcher.ResponseData["headers"];
  body: Dispatcher.ResponseData["body"];
  /** Host that answered in the end, for messages. */
  host: string;
}

export interface Connections {
  /** Sends a GET, HEAD or POST and follows redirects; the credentials go to no other place than the first. */
  send(url: URL, options: SendOptions): Promise<Answer>;
  close(): Promise<void>;
}

export interface SendOptions {
  method?: "GET" | "HEAD" | "POST";
  headers?: Record<string, string>;
  body?: string;
  /** Kept from everybody but the host that is asked. */
  authorization?: string | undefined;
  /** Plain HTTP was allowed for this registry. */
  plain: boolean;
  signal: AbortSignal;
}

const CONNECT_TIMEOUT = 10_000;
const HEADERS_TIMEOUT = 30_000;
/** Without a byte for so long a download is begun again. */
const BODY_TIMEOUT = 60_000;
const MOST_REDIRECTS = 5;

/** Connections to registries: through the proxies of the environment, with a certificate authority of their own if there is one. */
export function openConnections(caFile: string | undefined): Connections {
  const tls = caFile === undefined ? {} : { ca: [...getCACertificates("default"), readAuthority(caFile)] };
  const agent = new EnvHttpProxyAgent({
    connect: { ...tls, timeout: CONNECT_TIMEOUT },
    requestTls: tls,
    headersTimeout: HEADERS_TIMEOUT,
    bodyTimeout: BODY_TIMEOUT,
    connections: 8,
  });

  async function send(start: URL, options: SendOptions): Promise<Answer> {
    let url = start;
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      if (url.protocol !== "https:" && !(options.plain && url.protocol === "http:")) throw plainHttp(url);
      const own = url.origin === start.origin ? options.authorization : undefined;
      const answer = await exchange(url, { ...options, authorization: own });
      const location = answer.headers["location"];
      if (answer.status < 300 || answer.status >= 400 || typeof location !== "string") return answer;
      await answer.body.dump().catch(() => undefined);
      const next = URL.parse(location, url.href);
      if (next === null) throw new RegistryError("REGISTRY_ANSWER", `${url.host} redirects to nowhere`);
      url = next;
    }
    throw new RegistryError("REGISTRY_ANSWER", `${start.host} redirects in a circle`);
  }

  async function exchange(url: URL, options: SendOptions): Promise<Answer> {
    const { method = "GET", authorization, body, signal } = options;
    try {
      const response = await request(url, {
        dispatcher: agent,
        method,
        headers: {
          "user-agent": "fireteact",
          ...(authorization === undefined ? {} : { authorization }),
          ...options.headers,
        },
        body: body ?? null,
        signal,
      });
      return { status: response.statusCode, headers: response.headers, body: response.body, host: url.host };
    } catch (error) {
      signal.throwIfAborted();
      throw unreachable(url.host, error);
    }
  }

  return { send, close: () => agent.destroy() };
}

/** What a broken connection is called; the address itself may hold a signature and is not told. */
export const unreachable = (host: string, cause: unknown): RegistryError =>
  new RegistryError("REGISTRY_UNREACHABLE", `The registry ${host} cannot be reached: ${describe(cause)}`, {
    hint: "Check the network, HTTPS_PROXY and NO_PROXY of the service; an own certificate authority is set under images.registries",
    transient: true,
    cause,
  });

const plainHttp = (url: URL): RegistryError =>
  new RegistryError("REGISTRY_REFUSED", `${url.host} would be asked over ${url.protocol}//, which was not allowed`, {
    hint: "For a registry without TLS set plainHttp: true for it under images.registries",
  });

function readAuthority(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new FireteactError("REGISTRY_CA", `The registry's certificate authority cannot be read: ${describe(error)}`, {
      hint: "Correct caFile under images.registries",
      cause: error,
    });
  }
}
