import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MadeImage } from "./images.ts";

/** Debian's docker-registry on loopback, with a directory of its own. */
export interface DockerRegistry extends AsyncDisposable {
  host: string;
  push(repository: string, tag: string, image: Pick<MadeImage, "manifest" | "blobs">): Promise<void>;
}

const DEADLINE = 30_000;

export async function startDockerRegistry(): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), "fireteact-registry-"));
  const host = `127.0.0.1:${await freePort()}`;
  const config = join(directory, "config.yml");
  const storage = { filesystem: { rootdirectory: join(directory, "data") } };
  await writeFile(config, JSON.stringify({ version: 0.1, log: { level: "error" }, storage, http: { addr: host } }));
  const child = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
  const registry: DockerRegistry = {
    host,
    async push(repository, tag, { manifest, blobs }) {
      for (const [digest, blob] of blobs) await pushBlob(`http://${host}/v2/${repository}`, digest, blob);
      const { mediaType } = JSON.parse(manifest) as { mediaType: string };
      const url = `http://${host}/v2/${repository}/manifests/${tag}`;
      await expectStatus(
        201,
        await fetch(url, { method: "PUT", headers: { "content-type": mediaType }, body: manifest }),
      );
    },
    async [Symbol.asyncDispose]() {
      const ended = once(child, "exit");
      if (child.exitCode === null && child.kill()) await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
  await answers(host, child);
  return registry;
}

async function answers(host: string, child: ChildProcess): Promise<void> {
  const failed = once(child, "error").then(([error]) => {
    throw error;
  });
  const ready = async () => {
    for (const end = Date.now() + DEADLINE; Date.now() < end; await sleep(50)) {
      const answer = await fetch(`http://${host}/v2/`).catch(() => undefined);
      if (answer?.ok === true) return;
    }
    throw new Error("docker-registry does not answer");
  };
  await Promise.race([ready(), failed]);
}

async function pushBlob(base: string, digest: string, blob: Buffer): Promise<void> {
  const begun = await expectStatus(202, await fetch(`${base}/blobs/uploads/`, { method: "POST" }));
  const location = new URL(begun.headers.get("location") ?? "", base);
  location.searchParams.set("digest", digest);
  const headers = { "content-type": "application/octet-stream" };
  await expectStatus(201, await fetch(location, { method: "PUT", headers, body: new Uint8Array(blob) }));
}

async function expectStatus(status: number, answer: Response): Promise<Response> {
  if (answer.status === status) return answer;
  throw new Error(`docker-registry answers ${answer.status}: ${(await answer.text()).slice(0, 200)}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
