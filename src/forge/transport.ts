import { readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";
import { Agent, type Dispatcher, EnvHttpProxyAgent } from "undici";
import { describe } from "../base/errors.ts";
import { ForgeError } from "./errors.ts";

/** Milliseconds and bytes; the defaults suit a forge in the same country. */
export interface ForgeTuning {
  connectTimeout: number;
  /** From the request to the first byte of the answer. */
  headersTimeout: number;
  /** How long an unused connection is kept, unless the forge names a time of its own: longer than between two polls. */
  keepAlive: number;
  /** For a call with all its retries. */
  totalTimeout: number;
  largestAnswer: number;
  /** Further tries of a repeatable call. */
  retries: number;
  /** The first pause is random up to this; it doubles with every try. */
  retryPause: number;
  /** The longest pause that the forge may ask for within a call; with a longer one the call fails. */
  longestPause: number;
}

export const DEFAULT_TUNING: ForgeTuning = {
  connectTimeout: 5_000,
  headersTimeout: 10_000,
  keepAlive: 30_000,
  totalTimeout: 30_000,
  largestAnswer: 16 * 1024 * 1024,
  retries: 3,
  retryPause: 250,
  longestPause: 2_000,
};

export interface ProxySettings {
  url: string;
  /** As in `NO_PROXY`: hosts, `.suffixes`, `host:port`, `*`, separated by commas. */
  no?: string;
}

export interface TrustSettings {
  /** A further certificate authority, PEM; the usual ones stay trusted. */
  ca?: string;
  /** The same, read from a file when connections are made. */
  caFile?: string;
}

/** Connections of one target: its own trust, proxy and timeouts. */
export function openConnections(
  trust: TrustSettings,
  proxy: ProxySettings | undefined,
  tuning: ForgeTuning,
): Dispatcher {
  const ca = authorities(trust);
  const tls = ca === undefined ? {} : { ca };
  const common = {
    connect: { ...tls, timeout: tuning.connectTimeout },
    keepAliveTimeout: tuning.keepAlive,
    headersTimeout: tuning.headersTimeout,
    bodyTimeout: tuning.headersTimeout,
    maxResponseSize: tuning.largestAnswer,
    connections: 64,
  };
  if (proxy === undefined) return new Agent(common);
  return new EnvHttpProxyAgent({
    ...common,
    httpProxy: proxy.url,
    httpsProxy: proxy.url,
    noProxy: proxy.no ?? "",
    connectTimeout: tuning.connectTimeout,
    proxyTls: tls,
    requestTls: tls,
  });
}

/** The proxy as it may be printed: without name and password. */
export function proxyName(proxy: ProxySettings | undefined): string | undefined {
  return proxy === undefined ? undefined : URL.parse(proxy.url)?.host;
}

function authorities(trust: TrustSettings): string[] | undefined {
  const extra = trust.ca ?? (trust.caFile === undefined ? undefined : readAuthority(trust.caFile));
  return extra === undefined ? undefined : [...getCACertificates("default"), extra];
}

function readAuthority(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ForgeError("FORGE_TLS", `the certificate authority's file cannot be read: ${describe(error)}`, {
      hint: "Correct `caFile`, or make the file readable for the service.",
      cause: error,
      facts: { file },
    });
  }
  if (!text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new ForgeError("FORGE_TLS", `${file} holds no certificate in PEM form`, {
      hint: "`caFile` has to hold `-----BEGIN CERTIFICATE-----` blocks; convert DER with `openssl x509 -inform der`.",
      facts: { file },
    });
  }
  return text;
}
