import type { FetchVia } from "../runner-rpc/client.ts";
import { header } from "./answers.ts";
import type { Call, ForgeHttp } from "./http.ts";

/** Requests of the runner protocol over the target's own connections: proxy, authorities, timeouts, circuit. */
export function fetchThrough(
  http: ForgeHttp,
  call: Pick<Call, "operation" | "needs" | "repeatable">,
  caller: AbortSignal,
): FetchVia {
  return async (url, init) => {
    const answer = await http.send(
      {
        ...call,
        method: "POST",
        path: url.slice(http.url.length),
        headers: Object.fromEntries(init.headers),
        body: init.body,
        anonymous: true,
        contentType: "application/proto",
        // The protocol's own errors are JSON with a code, whatever their status.
        accepts: (refusal) => refusal.status >= 400 && /"code"\s*:/.test(refusal.body.toString("utf8", 0, 4000)),
      },
      init.signal ?? caller,
    );
    const type = header(answer, "content-type") ?? "";
    return { status: answer.status, headers: new Headers({ "content-type": type }), body: oneChunk(answer.body) };
  };
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
