const KEPT = 20_000;

export interface LoggedRequest {
  /** Unix milliseconds. */
  at: number;
  method: string;
  path: string;
  query: string;
  /** `GET /api/v1/version`, `POST /api/actions/runner.v1.RunnerService/FetchTask`: the pattern, not the path. */
  route: string;
  /** 0 when the connection was cut instead of answered. */
  status: number;
  milliseconds: number;
}

/** What was asked of the simulator: the last requests, and exact counts of all of them. */
export interface RequestLog {
  all(): readonly LoggedRequest[];
  /** Requests per route since the start or the last `clear`. */
  counts(): Record<string, number>;
  total(): number;
  clear(): void;
}

export function createRequestLog(): RequestLog & { add(request: LoggedRequest): void } {
  const kept: LoggedRequest[] = [];
  const counts = new Map<string, number>();
  return {
    add: (request) => {
      kept.push(request);
      if (kept.length > KEPT) kept.splice(0, KEPT / 10);
      counts.set(request.route, (counts.get(request.route) ?? 0) + 1);
    },
    all: () => kept,
    counts: () => Object.fromEntries(counts),
    total: () => [...counts.values()].reduce((sum, count) => sum + count, 0),
    clear: () => {
      kept.length = 0;
      counts.clear();
    },
  };
}
