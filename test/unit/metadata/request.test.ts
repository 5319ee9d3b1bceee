import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import { compactJson, lookUp } from "../../../src/metadata/lookup.ts";
import { parseRequest, requestEnd } from "../../../src/metadata/request.ts";
import { respond, serialise } from "../../../src/metadata/respond.ts";
import { createTokens } from "../../../src/metadata/tokens.ts";

const json = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => value as Record<string, unknown>);

describe("requests", () => {
  it("of any bytes are read or refused, never thrown over", () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(fc.string(), fc.string(), fc.string())
        .map(([a, b, c]) => Buffer.from(`GET /${a} HTTP/1.1\r\n${b}: ${c}\r\n\r\n`)),
    );
    fc.assert(
      fc.property(noise, (bytes) => {
        const end = requestEnd(bytes);
        const request = parseRequest(bytes.subarray(0, end ?? bytes.length));
        if ("message" in request) expect([400, 501]).toContain(request.status);
        else expect(request.path === "" || request.path.startsWith("/")).toBe(true);
      }),
    );
  });

  it("end after the first empty line", () => {
    expect(requestEnd(Buffer.from("GET / HTTP/1.1\r\n\r\nGET"))).toBe(18);
    expect(requestEnd(Buffer.from("GET / HTTP/1.1\n\nGET\r\n\r\n"))).toBe(16);
    expect(requestEnd(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n"))).toBeUndefined();
  });

  it("cannot bring a line of their own into the answer's headers", () => {
    const names = fc.string().map((name) => `${name}x-metadata-token-ttl-seconds`);
    fc.assert(
      fc.property(names, (name) => {
        const bytes = Buffer.from(`PUT /latest/api/token HTTP/1.1\r\n${name}: 5\r\n\r\n`);
        const request = parseRequest(bytes);
        if ("message" in request) return;
        const guest = { version: "V2" as const, document: {}, tokens: createTokens(systemClock) };
        const head = serialise(respond(guest, request)).toString().split("\r\n\r\n")[0] ?? "";
        expect(head.split(/[\r\n]/).filter((line) => line !== "").length).toBeLessThanOrEqual(6);
      }),
    );
  });
});

describe("the tree", () => {
  it("as JSON is what JSON.parse reads back, with sorted keys", () => {
    fc.assert(
      fc.property(json, (tree) => {
        const text = compactJson(tree);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(tree)));
        expect(compactJson(JSON.parse(text))).toBe(text);
      }),
    );
    expect(compactJson({ b: [1, { d: null, c: "x" }], a: undefined, A: true })).toBe(
      '{"A":true,"b":[1,{"c":"x","d":null}]}',
    );
  });

  it("is found member by member, whatever the keys are called", () => {
    fc.assert(
      fc.property(json, fc.string({ minLength: 1 }), fc.string(), (tree, key, value) => {
        const pointer = key.replaceAll("~", "~0").replaceAll("/", "~1");
        expect(lookUp({ outer: { ...tree, [key]: value } }, `/outer/${pointer}`, "text")).toEqual({
          kind: "value",
          text: value,
        });
      }),
    );
  });

  it("sorts keys by their bytes in UTF-8", () => {
    expect(lookUp({ "\u{1f600}": "", "\uffff": "", z: "", Z: "" }, "/", "text")).toEqual({
      kind: "value",
      text: "Z\nz\n\uffff\n\u{1f600}",
    });
  });
});
