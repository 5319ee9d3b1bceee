/** A request as far as the metadata service looks at it. */
export interface MetadataRequest {
  method: "GET" | "PUT" | "PATCH" | "DELETE";
  /** Empty where the URI has none. */
  path: string;
  version: HttpVersion;
  accept: "json" | "text";
  /** Headers that HTTP itself does not use, names as sent. */
  headers: [name: string, value: string][];
}

export type HttpVersion = "HTTP/1.0" | "HTTP/1.1";

/** Why a request cannot be read, as the guest is told. */
export interface Refusal {
  status: 400 | 501;
  message: string;
}

/** `GET / HTTP/1.1` without its path. */
const SHORTEST_LINE = 14;

const bad = (message: string): Refusal => ({ status: 400, message });
const INVALID = bad("Invalid request.");
const HTTP_HEADERS = ["content-length", "content-type", "expect", "transfer-encoding", "server", "accept"];

/** Where the first request in the bytes ends: after an empty line; undefined where it is not complete. */
export function requestEnd(bytes: Buffer): number | undefined {
  const plain = bytes.indexOf("\n\n");
  const proper = bytes.indexOf("\n\r\n");
  const ends = [...(plain < 0 ? [] : [plain + 2]), ...(proper < 0 ? [] : [proper + 3])];
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** Reads one request out of exactly its bytes. Bodies are refused: nothing the service answers has one. */
export function parseRequest(bytes: Buffer): MetadataRequest | Refusal {
  const text = utf8(bytes);
  if (text === undefined) return INVALID;
  const lineEnd = text.indexOf("\r\n");
  if (lineEnd < SHORTEST_LINE) return INVALID;
  const line = parseLine(text.slice(0, lineEnd));
  if ("status" in line) return line;
  if (!text.endsWith("\r\n\r\n")) return INVALID;
  const request: MetadataRequest = { ...line, accept: "text", headers: [] };
  for (const header of text.slice(lineEnd + 2, -4).split("\r\n")) {
    if (header === "") break;
    const refusal = readHeader(request, header);
    if (refusal !== undefined) return refusal;
  }
  return request;
}

function parseLine(line: string): Pick<MetadataRequest, "method" | "path" | "version"> | Refusal {
  const [, method, uri, version] = /^([^ ]*) ([^ ]*) (.*)$/s.exec(line) ?? [];
  if (method === undefined || uri === undefined || version === undefined) return INVALID;
  if (method !== "GET" && method !== "PUT" && method !== "PATCH" && method !== "DELETE") {
    return { status: 501, message: "Unsupported HTTP method." };
  }
  if (uri === "") return bad("Empty URI not allowed.");
  if (version !== "HTTP/1.0" && version !== "HTTP/1.1") return { status: 501, message: "Unsupported HTTP version." };
  return { method, path: absolutePath(uri), version };
}

/** The path of `/path` or `http://host/path`; anything else has none. */
function absolutePath(uri: string): string {
  if (uri.startsWith("/")) return uri;
  return /^http:\/\/[^/]*(\/.*)$/s.exec(uri)?.[1] ?? "";
}

function readHeader(request: MetadataRequest, header: string): Refusal | undefined {
  const colon = header.indexOf(":");
  if (colon < 0) return bad(`Header is incorrectly formatted. Key: ${header}`);
  const name = header.slice(0, colon);
  const value = header.slice(colon + 1);
  const known = name.trim().toLowerCase();
  if (known === "content-length") {
    if (!/^\d+$/.test(value.trim())) return bad(`Invalid value. Key:${name}; Value:${value}`);
    return Number(value) > 0 ? INVALID : undefined;
  }
  if (known === "accept-encoding") return refusedEncoding(value);
  if (known === "accept") {
    if (value.trim() === "application/json") request.accept = "json";
    if (value.trim() === "text/plain") request.accept = "text";
  }
  if (!HTTP_HEADERS.includes(known)) request.headers.push([name, value.trim()]);
  return undefined;
}

/** Answers are never encoded, so a client that refuses plain ones cannot be served. */
function refusedEncoding(value: string): Refusal | undefined {
  if (value.trim() === "") return INVALID;
  const refused = value
    .split(",")
    .map((encoding) => encoding.trim())
    .find((encoding) => encoding === "identity;q=0" || (encoding === "*;q=0" && !value.includes("identity")));
  return refused === undefined ? undefined : bad(`Invalid value. Key:Accept-Encoding; Value:${refused}`);
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
function utf8(bytes: Buffer): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}
