import { chmod, mkdir, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { GUEST_FILES, makeImage, makeIndex, tarOf } from "../../support/oci/images.ts";
import { type Double, startDouble } from "../../support/oci/registry.ts";
import { testStore } from "../../support/oci/store.ts";

const { signal } = new AbortController();
const quiet = () => undefined;

const root = process.getuid?.() === 0;
if (!root) process.stderr.write("SKIPPED: only root can take images apart\n");

/** Content that gzip cannot shrink, so that its layer comes in more than one piece. */
const noise = (bytes: number): Buffer => {
  let state = 1;
  return Buffer.from(Array.from({ length: bytes }, () => (state = (state * 48_271) % 2_147_483_647) & 255));
};

async function world(mirror = false) {
  const registry = await startDouble();
  const image = makeImage([tarOf([...GUEST_FILES, { name: "noise", content: noise(600_000) }])]);
  registry.put("o/i", "1", image);
  const store = await testStore([registry.host]);
  onTestFinished(() => registry[Symbol.asyncDispose]());
  const second = mirror ? await startDouble() : undefined;
  if (second !== undefined) {
    onTestFinished(() => second[Symbol.asyncDispose]());
    store.settings.registries = new Map([[registry.host, { mirrors: [`http://${second.host}`], plainHttp: true }]]);
  }
  const reference = `${registry.host}/o/i:1`;
  const layer = [...image.blobs].toSorted(([, a], [, b]) => b.length - a.length)[0] ?? expect.unreachable();
  const resolve = () => store.images.resolve(reference, signal, (line) => store.said.push(line));
  return { registry, mirror: second ?? registry, image, layer, store, reference, resolve };
}

const blobsAsked = ({ requests }: Double, digest: string): string[] => requests.filter((line) => line.includes(digest));

describe.skipIf(!root)("a registry", { timeout: 120_000 }, () => {
  it.each([
    ["other content of the same size", (content: Buffer) => Buffer.from(content).fill(0, 100, 200)],
    ["more than it said", (content: Buffer) => Buffer.concat([content, content])],
  ])("that gives %s is not believed, and nothing of it is kept", async (_, change) => {
    const { registry, layer, resolve } = await world();
    registry.blobs.set(layer[0], change(layer[1]));
    await expect(resolve()).rejects.toMatchObject({
      code: "REGISTRY_LIED",
      message: expect.stringContaining(layer[0]),
    });
    registry.blobs.set(layer[0], layer[1]);
    await resolve();
  });

  it("that gives another manifest for a digest is not believed", async () => {
    const { registry, image, store } = await world();
    registry.intercept = (request, response) => {
      if (request.url?.endsWith(image.digest) !== true) return false;
      response.end(makeImage([tarOf([])]).manifest);
      return true;
    };
    const pulling = store.images.resolve(`${registry.host}/o/i@${image.digest}`, signal, quiet);
    await expect(pulling).rejects.toMatchObject({ code: "REGISTRY_LIED" });
  });

  it.each([
    ["no JSON", "<html>", "is not JSON"],
    ["no manifest", "{}", "is no image"],
    ["the format of long ago", '{"schemaVersion":1}', "schema 1"],
    ["a digest that is a path", JSON.stringify({ config: { digest: "../../x", size: 1 }, layers: [] }), "is no image"],
    [
      "a negative size",
      JSON.stringify({ config: { digest: `sha256:${"ab".repeat(32)}`, size: -1 }, layers: [] }),
      "is no image",
    ],
    ["an index of indexes", "", "index of indexes"],
  ])("that gives %s is told so", async (_, manifest, why) => {
    const { registry, store } = await world();
    const inner = makeIndex({});
    registry.putManifest("o/i", "x", inner.manifest);
    const outer = makeIndex({ amd64: { ...inner, blobs: new Map() } }).manifest;
    registry.intercept = (request, response) => {
      if (request.url?.endsWith("/odd") !== true) return false;
      response.end(manifest === "" ? outer : manifest);
      return true;
    };
    const pulling = store.images.resolve(`${registry.host}/o/i:odd`, signal, quiet);
    await expect(pulling).rejects.toMatchObject({ code: "IMAGE_INVALID", message: expect.stringContaining(why) });
  });

  it("that floods where a manifest should be is cut off", async () => {
    const { registry, resolve } = await world();
    registry.intercept = (_, response) => {
      response.on("drain", () => response.write("x".repeat(65_536)));
      while (response.write("x".repeat(65_536)));
      return true;
    };
    await expect(resolve()).rejects.toMatchObject({
      code: "REGISTRY_LIED",
      message: expect.stringContaining("more than 4194304"),
    });
  });

  it("that breaks off is asked for the rest, by this process or the next", async () => {
    const { registry, layer, resolve } = await world();
    let breaks = 0;
    registry.intercept = (request, response) => {
      if (request.url?.endsWith(layer[0]) !== true || request.headers.range !== undefined) return false;
      breaks++;
      response.writeHead(200, { "content-length": layer[1].length });
      response.write(layer[1].subarray(0, 200_000), () => setTimeout(() => response.destroy(), 50));
      return true;
    };
    await resolve();
    expect(breaks).toBe(1);
    const [first, second, ...more] = blobsAsked(registry, layer[0]);
    expect(first).not.toContain("bytes=");
    expect(Number(/bytes=(\d+)-/.exec(second ?? "")?.[1])).toBeGreaterThan(0);
    expect(more).toEqual([]);
  });

  it("that knows no ranges is asked for all of it again", async () => {
    const { registry, layer, resolve } = await world();
    let answers = 0;
    registry.intercept = (request, response) => {
      if (request.url?.endsWith(layer[0]) !== true) return false;
      response.writeHead(200, { "content-length": layer[1].length });
      if (answers++ > 0) response.end(layer[1]);
      else response.write(layer[1].subarray(0, 200_000), () => setTimeout(() => response.destroy(), 50));
      return true;
    };
    await resolve();
    expect(answers).toBe(2);
  });

  it("is not blamed for a part that a crash has damaged", async () => {
    const { registry, layer, store, resolve } = await world();
    const blobs = join(store.places.state, "images", "pull", "blobs");
    await mkdir(blobs, { recursive: true });
    await writeFile(join(blobs, `${layer[0].slice(7)}.part`), Buffer.alloc(100_000, 1));
    await resolve();
    expect(blobsAsked(registry, layer[0]).length).toBe(2);
  });

  it("that is away for a moment, or wants to be left alone, is asked again", async () => {
    const { registry, resolve } = await world();
    const statuses = [503, 429, 500];
    registry.intercept = (_, response) => {
      const status = statuses.shift();
      if (status === undefined) return false;
      response.writeHead(status, status === 429 ? { "retry-after": "1" } : {}).end();
      return true;
    };
    await resolve();
    expect(statuses).toEqual([]);
  });

  it("that has no such image says so, and one that is not there too", async () => {
    const { registry, store } = await world();
    const at = (reference: string) => store.images.resolve(reference, signal, quiet);
    await expect(at(`${registry.host}/o/i:2`)).rejects.toMatchObject({
      code: "IMAGE_NOT_FOUND",
      message: expect.stringContaining("o/i:2"),
    });
    store.settings.registries = new Map([["127.0.0.1:1", { mirrors: [], plainHttp: true }]]);
    await expect(at("127.0.0.1:1/o/i:1")).rejects.toMatchObject({ code: "REGISTRY_UNREACHABLE" });
  });

  it("is not asked over plain HTTP unless that was told", async () => {
    const { registry, store } = await world();
    const before = registry.requests.length;
    store.settings.registries = new Map();
    await expect(store.images.resolve(`${registry.host}/o/i:1`, signal, quiet)).rejects.toMatchObject({
      code: "REGISTRY_UNREACHABLE",
    });
    expect(registry.requests.length).toBe(before);
  });
});

describe.skipIf(!root)("a mirror", { timeout: 120_000 }, () => {
  it("is asked first, and the registry where it has nothing, lies or is away", async () => {
    const { registry, mirror, image, layer, resolve, store } = await world(true);
    await resolve();
    expect(mirror.requests[0]).toBe("GET /v2/o/i/manifests/1");
    mirror.put("o/i", "1", image);
    const whole = await testStore([registry.host], { state: join(store.places.state, "second") });
    whole.settings.registries = store.settings.registries;
    mirror.blobs.set(layer[0], Buffer.from(layer[1]).fill(9));
    const before = registry.requests.length;
    await whole.images.resolve(`${registry.host}/o/i:1`, signal, quiet);
    // Only the blob that the mirror lied about.
    expect(registry.requests.slice(before)).toEqual([`GET /v2/o/i/blobs/${layer[0]}`]);
  });
});

describe.skipIf(!root)("credentials", { timeout: 120_000 }, () => {
  const SECRET = "pass:word";
  const BASIC = `Basic ${Buffer.from(`me:${SECRET}`).toString("base64")}`;

  /** Wants a token, which it gives to `me`; blobs are elsewhere. */
  async function guarded() {
    const all = await world();
    const elsewhere = await startDouble();
    onTestFinished(() => elsewhere[Symbol.asyncDispose]());
    const seen: string[] = [];
    elsewhere.intercept = (request, response) => {
      seen.push(String(request.headers.authorization));
      response.end(all.image.blobs.get(`sha256:${request.url?.slice(1)}`));
      return true;
    };
    const tokens: string[] = [];
    all.registry.intercept = (request, response) => {
      const { authorization } = request.headers;
      if (request.url?.startsWith("/token") === true) {
        tokens.push(`${request.method} ${request.url}`);
        if (request.method === "POST")
          return readAll(request, (body) => grant(response, body.get("refresh_token") === "refresh"));
        return grant(response, authorization === BASIC);
      }
      if (authorization !== "Bearer granted") {
        const realm = `Bearer realm="http://${all.registry.host}/token",service="the registry",scope="x"`;
        response.writeHead(401, { "www-authenticate": realm }).end();
        return true;
      }
      if (!request.url?.includes("/blobs/")) return false;
      const location = `http://${elsewhere.host}/${request.url.split(":").at(-1)}`;
      response.writeHead(307, { location }).end();
      return true;
    };
    const login = (config: object) => writeFile(all.store.settings.authFile, JSON.stringify(config));
    return { ...all, seen, tokens, login };
  }

  const grant = (response: ServerResponse, ok: boolean): true => {
    response.writeHead(ok ? 200 : 401).end(JSON.stringify({ token: "granted" }));
    return true;
  };

  const readAll = (request: NodeJS.ReadableStream, done: (body: URLSearchParams) => void): true => {
    let text = "";
    request.on("data", (chunk) => (text += String(chunk)));
    request.on("end", () => done(new URLSearchParams(text)));
    return true;
  };

  it("are taken from Docker's configuration, and go to nobody else", async () => {
    const { registry, resolve, login, seen, tokens } = await guarded();
    await login({ auths: { [registry.host]: { auth: Buffer.from(`me:${SECRET}`).toString("base64") } } });
    await resolve();
    expect(new Set(seen)).toEqual(new Set(["undefined"]));
    expect(seen.length).toBe(2);
    expect(tokens).toEqual([
      expect.stringMatching(/^GET \/token\?service=the\+registry&scope=repository%3Ao%2Fi%3Apull/),
    ]);
  });

  it("may be an identity token", async () => {
    const { registry, resolve, login, tokens } = await guarded();
    await login({ auths: { [`https://${registry.host}/v2/`]: { auth: "", identitytoken: "refresh" } } });
    await resolve();
    expect(tokens).toEqual(["POST /token"]);
  });

  it.each(["credHelpers", "credsStore"])("come from a helper: %s", async (kind) => {
    const { registry, resolve, login, store } = await guarded();
    const helper = join(store.places.state, "docker-credential-test");
    const answer = JSON.stringify({ Username: "me", Secret: SECRET });
    await writeFile(
      helper,
      `#!/bin/sh\nread -r host\n[ "$1 $host" = "get ${registry.host}" ] && echo '${answer}' && exit\necho credentials not found; exit 1\n`,
    );
    await chmod(helper, 0o755);
    const path = process.env["PATH"];
    process.env["PATH"] = `${store.places.state}:${path}`;
    onTestFinished(() => {
      process.env["PATH"] = path;
    });
    await login(kind === "credsStore" ? { credsStore: "test" } : { credHelpers: { [registry.host]: "test" } });
    await resolve();
  });

  it("that are wrong or missing are told, without a word of the secret", async () => {
    const { registry, resolve, login } = await guarded();
    await expect(resolve()).rejects.toMatchObject({
      code: "REGISTRY_REFUSED",
      message: expect.stringContaining("who asks"),
    });
    await login({ auths: { [registry.host]: { username: "me", password: "wrong" } } });
    const refused = await resolve().catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "REGISTRY_REFUSED", hint: expect.stringContaining("docker login") });
    expect(JSON.stringify(refused) + String(refused)).not.toContain("wrong");
    await login([]);
    await expect(resolve()).rejects.toMatchObject({ code: "REGISTRY_CREDENTIALS" });
    await login({ credsStore: "no/such helper" });
    await expect(resolve()).rejects.toMatchObject({ code: "REGISTRY_CREDENTIALS" });
    await login({ credsStore: "does-not-exist" });
    await expect(resolve()).rejects.toMatchObject({ code: "REGISTRY_CREDENTIALS" });
  });
});

describe.skipIf(!root)("the pull policy", { timeout: 120_000 }, () => {
  const newer = () => makeImage([tarOf([...GUEST_FILES, { name: "newer" }])]);

  it("Never asks no registry", async () => {
    const { registry, store, reference, resolve } = await world();
    store.policy.is = "Never";
    await expect(resolve()).rejects.toMatchObject({ code: "IMAGE_MISSING", hint: `fireteact image pull ${reference}` });
    expect(registry.requests).toEqual([]);
    const { digest } = await store.images.pull(reference, signal, quiet);
    expect((await resolve()).digest).toBe(digest);
  });

  it("IfNotPresent goes on with what is here, until somebody pulls", async () => {
    const { registry, store, reference, resolve } = await world();
    const first = await resolve();
    registry.put("o/i", "1", newer());
    await store.images.refresh(reference, quiet);
    expect((await store.again().resolve(reference, signal, quiet)).digest).toBe(first.digest);
    const { digest } = await store.images.pull(reference, signal, quiet);
    expect(digest).not.toBe(first.digest);
    expect((await resolve()).digest).toBe(digest);
  });

  it("Always asks at the first use, and now and then beside the work; a tag that stays costs one request", async () => {
    const { registry, store, reference, resolve } = await world();
    store.policy.is = "Always";
    const first = await resolve();
    const before = registry.requests.length;
    expect((await store.again().resolve(reference, signal, quiet)).digest).toBe(first.digest);
    expect(registry.requests.slice(before)).toEqual(["HEAD /v2/o/i/manifests/1"]);

    registry.put("o/i", "1", newer());
    // Guests that start meanwhile take what is here.
    expect((await resolve()).digest).toBe(first.digest);
    await store.images.refresh(reference, quiet);
    const second = await resolve();
    expect(second.digest).not.toBe(first.digest);
    expect(await store.images.digestOf(reference)).toBe(second.digest);
  });

  it("Always does not start without an answer, and goes on with what it has when there is none later", async () => {
    const { registry, store, reference, resolve } = await world();
    store.policy.is = "Always";
    const { digest } = await resolve();
    registry.intercept = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    await store.images.refresh(reference, (line) => store.said.push(line));
    expect(store.said.at(-1)).toContain("stays as it is");
    expect((await resolve()).digest).toBe(digest);
    await expect(store.again().resolve(reference, signal, quiet)).rejects.toMatchObject({ code: "REGISTRY_REFUSED" });
  });
});
