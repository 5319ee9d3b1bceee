import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, type createConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { afterEach, describe, expect, it } from "vitest";
import { PingService } from "../../../gen/ping/v1/ping_pb.js";
import { RunnerService } from "../../../gen/runner/v1/runner_pb.js";
import { createRunnerClient } from "../../../src/runner-rpc/client.ts";
import { rpcProblem } from "../../../src/runner-rpc/errors.ts";

const servers: ReturnType<typeof createServer>[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(
  subPath: string,
  seen: { type: string; uuid: string | null; token: string | null }[],
): Promise<string> {
  const adapter = connectNodeAdapter({
    requestPathPrefix: `${subPath}/api/actions`,
    routes: (router: ReturnType<typeof createConnectRouter>) => {
      router.service(PingService, { ping: ({ data }) => ({ data: `Hello, ${data}!` }) });
      router.service(RunnerService, {
        declare: ({ labels }, context) => {
          const { requestHeader } = context;
          seen.push({
            type: requestHeader.get("content-type") ?? "",
            uuid: requestHeader.get("x-runner-uuid"),
            token: requestHeader.get("x-runner-token"),
          });
          return { runner: { id: 9007199254740993n, labels } };
        },
        fetchTask: () => {
          throw new ConnectError("rpc error: code = Unauthenticated desc = unregistered runner", Code.Unknown);
        },
      });
    },
  });
  const server = createServer(adapter);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}${subPath}`;
}

describe("createRunnerClient", () => {
  it.each([
    ["binary", "application/proto"],
    ["json", "application/json"],
  ] as const)("speaks %s below a sub-path with the runner's credentials", async (format, type) => {
    const seen: { type: string; uuid: string | null; token: string | null }[] = [];
    const baseUrl = await serve("/git", seen);
    const { runner, ping } = createRunnerClient({ baseUrl: `${baseUrl}/`, uuid: "u-1", token: "t-1", format });
    expect(await ping.ping({ data: "you" })).toMatchObject({ data: "Hello, you!" });
    const { runner: row } = await runner.declare({ labels: ["a", "b"], version: "x" });
    expect(row).toMatchObject({ id: 9007199254740993n, labels: ["a", "b"] });
    expect(seen).toEqual([{ type, uuid: "u-1", token: "t-1" }]);
  });

  it("sends no credentials where it has none", async () => {
    const seen: { type: string; uuid: string | null; token: string | null }[] = [];
    const { runner } = createRunnerClient({ baseUrl: await serve("", seen) });
    await runner.declare({});
    expect(seen).toEqual([{ type: "application/proto", uuid: null, token: null }]);
  });

  it("tells apart what errors mean", async () => {
    const { runner } = createRunnerClient({ baseUrl: await serve("", []) });
    const problem = async (call: Promise<unknown>): Promise<string> => await call.then(() => "none", rpcProblem);
    expect(await problem(runner.fetchTask({}))).toBe("unregistered");
    expect(await problem(runner.updateLog({}))).toBe("unimplemented");
    expect(await problem(createRunnerClient({ baseUrl: "http://127.0.0.1:1" }).runner.declare({}))).toBe("other");
    const refused = (text: string, code = Code.Unknown): string => rpcProblem(new ConnectError(text, code));
    expect(refused("runner registration token not found")).toBe("registration-token-refused");
    expect(
      refused("runner registration token has been invalidated, please use the latest one", Code.InvalidArgument),
    ).toBe("registration-token-refused");
    expect(refused("gone", Code.Unauthenticated)).toBe("unregistered");
    expect(refused("runner has been removed")).toBe("unregistered");
    expect(rpcProblem(new Error("unregistered runner"))).toBe("other");
  });

  it("uses the connections it is given", async () => {
    const urls: string[] = [];
    const { ping } = createRunnerClient({
      baseUrl: "https://forge.invalid/git",
      fetchVia: async (url) => {
        urls.push(url);
        return new Response(new Uint8Array(), { status: 200, headers: { "content-type": "application/proto" } });
      },
    });
    expect(await ping.ping({})).toMatchObject({ data: "" });
    expect(urls).toEqual(["https://forge.invalid/git/api/actions/ping.v1.PingService/Ping"]);
  });
});
