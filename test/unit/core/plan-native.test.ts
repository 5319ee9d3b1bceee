import { describe, expect, it } from "vitest";
import type { RunnerEvent } from "../../../src/core/runner.ts";
import { after, booting, fresh, job, poolView, steps } from "./build.ts";

const native = { driver: "native" } as const;
const pools = [poolView(native)];
const registered: RunnerEvent[] = [{ kind: "register-asked" }, { kind: "registered", row: 1, uuid: "u" }];

describe("a native pool", () => {
  it("registers a runner before it starts its unit, which begins with the credentials", () => {
    expect(steps({ pools, jobs: [job(1)] })).toEqual(["create a", "register new"]);
    const made = fresh(1, { ...native, jobKey: job(1).key });
    const asked = after(made, [{ kind: "register-asked" }]);
    expect(steps({ pools, runners: [asked], jobs: [job(1)] })).toEqual(["register 1"]);
    expect(steps({ pools, runners: [after(made, registered)], jobs: [job(1)] })).toEqual(["boot 1"]);
  });

  it("gives the credentials of a runner whose note of them was lost, and takes none back before its engine runs", () => {
    const started = after(booting(1, { ...native, jobKey: job(1).key }), registered);
    expect(steps({ pools, runners: [started], jobs: [job(1)] })).toEqual(["give 1"]);
    const told = after(started, [{ kind: "credentials-given" }]);
    expect(steps({ pools, runners: [told], jobs: [job(1)] })).toEqual([]);
  });

  it("does not end a runner whose agent has not spoken yet: it may have a job already", () => {
    const started = after(booting(1, native), [...registered, { kind: "credentials-given" }]);
    expect(steps({ pools, runners: [started] })).toEqual([]);
  });
});
