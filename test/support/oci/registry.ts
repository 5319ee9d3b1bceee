import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { MadeImage } from "./images.ts";
import { digestOf } from "./images.ts";

/** A registry that does what a test tells it to, above all what none should. */
export interface Double extends AsyncDisposable {
  /** Host and port. */
  host: string;
  /** Every request, as `GET /v2/...`, with ` bytes=N-` behind one for a part. */
  requests: string[];
  /** Answers before anything else does; true when it has. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** Puts an image there, under a tag. */
  put(repository: string, tag: string, image: MadeImage): void;
  /** A manifest alone, such as an index. */
  putManifest(repository: string, version: string, manifest: string): void;
  /** What is given for a digest, whatever it is. */
  blobs: Map<string, Buffer>;
}

export async function startDouble(): Promise<Double> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, string>();
  const requests: string[] = [];

  const server = createServer((request, response) => {
    const { range } = request.headers;
    requests.push(`${request.method} ${request.url}${range === undefined ? "" : ` ${range}`}`);
    if (double.intercept?.(request, response) === true) return;
    const [, repository = "", kind = "", version = ""] =
      /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(request.url ?? "") ?? [];
    if (kind === "manifests") {
      const manifest = manifests.get(`${repository} ${version}`);
      if (manifest === undefined) return void response.writeHead(404).end("{}");
      response.writeHead(200, {
        "content-type": String((JSON.parse(manifest) as { mediaType?: string }).mediaType),
        "docker-content-digest": digestOf(manifest),
      });
      return void response.end(request.method === "HEAD" ? undefined : manifest);
    }
    const blob = blobs.get(version);
    if (blob === undefined) return void response.writeHead(404).end("{}");
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const headers = { "content-range": `bytes ${from}-${blob.length - 1}/${blob.length}` };
    response.writeHead(from > 0 ? 206 : 200, from > 0 ? headers : {});
    response.end(blob.subarray(from));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

  const double: Double = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    intercept: undefined,
    blobs,
    put(repository, tag, image) {
      double.putManifest(repository, tag, image.manifest);
      for (const [digest, blob] of image.blobs) blobs.set(digest, blob);
    },
    putManifest(repository, version, manifest) {
      manifests.set(`${repository} ${version}`, manifest);
      manifests.set(`${repository} ${digestOf(manifest)}`, manifest);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return double;
}
