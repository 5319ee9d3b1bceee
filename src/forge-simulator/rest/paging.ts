import type { SimulatedRequest } from "../http/message.ts";

const DEFAULT_LIMIT = 30;
const MAX_LIMIT = 50;

export interface Page {
  number: number;
  limit: number;
}

/** `page` from 1 and `limit`, which is clamped without a word. */
export function pageOf(request: SimulatedRequest): Page {
  const number = Number.parseInt(request.query.get("page") ?? "1", 10);
  const limit = Number.parseInt(request.query.get("limit") ?? "", 10);
  return {
    number: number > 0 ? number : 1,
    limit: limit > 0 ? Math.min(limit, MAX_LIMIT) : DEFAULT_LIMIT,
  };
}

export const slice = <T>(rows: T[], page: Page): T[] =>
  rows.slice((page.number - 1) * page.limit, page.number * page.limit);

/** `X-Total-Count` and `Link` of the lists that have them. */
export function pageHeaders(url: string, request: SimulatedRequest, page: Page, total: number): Record<string, string> {
  const last = Math.max(1, Math.ceil(total / page.limit));
  const link = (number: number, relation: string) => {
    const query = new URLSearchParams(request.query);
    query.set("page", String(number));
    return `<${url}${request.path}?${query}>; rel="${relation}"`;
  };
  const links = [];
  if (page.number < last) links.push(link(page.number + 1, "next"), link(last, "last"));
  if (page.number > 1) links.push(link(1, "first"), link(page.number - 1, "prev"));
  return { "x-total-count": String(total), ...(links.length > 0 ? { link: links.join(",") } : {}) };
}
