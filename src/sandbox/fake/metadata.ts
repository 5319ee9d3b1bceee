import { rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { MetadataDocument } from "../port.ts";

/** Metadata for processes without a network: one unix socket each, answering GET like the real service, without tokens. */
export function createMetadataSockets() {
  const served = new Map<string, { server: Server; document: MetadataDocument }>();

  const publish = async (hex: string, path: string, document: MetadataDocument): Promise<void> => {
    const known = served.get(hex);
    if (known !== undefined) {
      known.document = document;
      return;
    }
    const server = createServer((request, response) => {
      const found = lookUp(served.get(hex)?.document, request.url ?? "/");
      response.statusCode = request.method !== "GET" ? 405 : found === undefined ? 404 : 200;
      response.setHeader("Content-Type", "application/json");
      response.end(request.method === "GET" && found !== undefined ? JSON.stringify(found) : "");
    });
    served.set(hex, { server, document });
    // Left by an orchestrator that died; the path belongs to this sandbox alone.
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
  };

  const stop = async (hex: string): Promise<void> => {
    const entry = served.get(hex);
    served.delete(hex);
    if (entry === undefined) return;
    entry.server.closeAllConnections();
    await new Promise<void>((resolve) => entry.server.close(() => resolve()));
  };

  return { publish, stop, close: async () => void (await Promise.all([...served.keys()].map(stop))) };
}

function lookUp(document: MetadataDocument | undefined, path: string): unknown {
  let found: unknown = document;
  for (const part of path.split("/").filter((each) => each !== "")) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, part)) return undefined;
    found = (found as Record<string, unknown>)[part];
  }
  return found;
}
