import type { MetadataDocument } from "../sandbox/port.ts";
import { type Format, lookUp } from "./lookup.ts";
import type { MmdsVersion } from "./port.ts";
import type { HttpVersion, MetadataRequest, Refusal } from "./request.ts";
import { LONGEST_TTL_SECONDS, type Tokens } from "./tokens.ts";

/** What one guest is served. */
export interface GuestMetadata {
  version: MmdsVersion;
  document: MetadataDocument;
  tokens: Tokens;
}

export interface MetadataResponse {
  version: HttpVersion;
  status: number;
  /** Between the fixed headers and the content's. */
  headers: [name: string, value: string][];
  type: "text/plain" | "application/json";
  body: string;
}

const TOKEN_PATH = "/latest/api/token";
const TTL_HEADERS = ["x-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token-ttl-seconds"];
const TOKEN_HEADERS = ["x-metadata-token", "x-aws-ec2-metadata-token"];
const LARGEST_NUMBER = 4_294_967_295;

const NO_TOKEN =
  "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token.";
const NO_TTL =
  "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or " +
  "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.";

/** Answers a request as MMDS does: same statuses, headers and texts. */
export function respond(guest: GuestMetadata, request: MetadataRequest): MetadataResponse {
  const { method, path, version } = request;
  if (path === "") return text(version, 400, "Invalid URI.");
  if (method === "GET") return get(guest, request);
  if (method === "PUT") return putToken(guest, request);
  return text(version, 405, "Not allowed HTTP method.", [["Allow", "GET, PUT"]]);
}

/** The answer to something that is no request. */
export const refuse = ({ status, message }: Refusal): MetadataResponse => text("HTTP/1.1", status, message);

/** The bytes of a response. There is no reason phrase, and the connection always stays open. */
export function serialise({ version, status, headers, type, body }: MetadataResponse): Buffer {
  const content = Buffer.from(body);
  const lines = [
    `${version} ${status} `,
    "Server: Firecracker API",
    "Connection: keep-alive",
    ...headers.map(([name, value]) => `${name}: ${value}`),
    `Content-Type: ${type}`,
    `Content-Length: ${content.length}`,
    "",
    "",
  ];
  return Buffer.concat([Buffer.from(lines.join("\r\n")), content]);
}

function get(guest: GuestMetadata, { path, version, accept, headers }: MetadataRequest): MetadataResponse {
  if (guest.version === "V2") {
    const token = header(headers, TOKEN_HEADERS)?.[1];
    if (token === undefined) return text(version, 401, NO_TOKEN);
    if (!guest.tokens.accepts(token)) return text(version, 401, "MMDS token not valid.");
  }
  const found = lookUp(guest.document, path, accept);
  if (found.kind === "absent") return text(version, 404, `Resource not found: ${path}.`);
  if (found.kind === "unsupported") {
    return text(version, 501, "Cannot retrieve value. The value has an unsupported type.");
  }
  return { version, status: 200, headers: [], type: TYPES[accept], body: found.text };
}

const TYPES: Record<Format, MetadataResponse["type"]> = { json: "application/json", text: "text/plain" };

function putToken(guest: GuestMetadata, { path, version, headers }: MetadataRequest): MetadataResponse {
  const forwarded = header(headers, ["x-forwarded-for"]);
  if (forwarded !== undefined) return invalidHeader(version, `Unsupported header name. Key: ${forwarded[0]}`);
  if (path.replaceAll(/\/+/g, "/") !== TOKEN_PATH) return text(version, 404, `Resource not found: ${path}.`);
  const ttl = header(headers, TTL_HEADERS);
  if (ttl === undefined) return text(version, 400, NO_TTL);
  const [name, value] = ttl;
  const seconds = Number(value);
  if (!/^\+?\d+$/.test(value) || seconds > LARGEST_NUMBER) {
    return invalidHeader(version, `Invalid value. Key:${name}; Value:${value}`);
  }
  if (seconds < 1 || seconds > LONGEST_TTL_SECONDS) {
    const range = `Please provide a value between 1 and ${LONGEST_TTL_SECONDS}.`;
    return text(version, 400, `Invalid time to live value provided for token: ${seconds}. ${range}`);
  }
  return text(version, 200, guest.tokens.issue(seconds), [[name, String(seconds)]]);
}

/** The last header with one of the names, whatever their case. */
function header(headers: MetadataRequest["headers"], names: string[]): [string, string] | undefined {
  return headers.findLast(([name]) => names.includes(name.trim().toLowerCase()));
}

const invalidHeader = (version: HttpVersion, reason: string): MetadataResponse =>
  text(version, 400, `Invalid header. Reason: ${reason}`);

function text(version: HttpVersion, status: number, body: string, headers: [string, string][] = []): MetadataResponse {
  return { version, status, headers, type: "text/plain", body };
}
