/** A request with its whole body; the path is below the base path and starts with a slash. */
export interface SimulatedRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: Headers;
  body: Buffer;
  /** Aborted when the caller goes away before it is answered. */
  signal: AbortSignal;
}

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer | string;
}

export const json = (status: number, value: unknown, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { "content-type": "application/json;charset=utf-8", ...headers },
  body: `${JSON.stringify(value)}\n`,
});

export const html = (status: number, title: string): Answer => ({
  status,
  headers: { "content-type": "text/html; charset=utf-8" },
  body: `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`,
});

export const empty = (status: number): Answer => ({ status, headers: {}, body: "" });

/** Ends a REST request with the error body of the forges. */
export class RestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
