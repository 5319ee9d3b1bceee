import type { Logger } from "../base/log.ts";

/** The most that both forges give in one page. */
export const PAGE_SIZE = 50;

export interface Page<T> {
  items: T[];
  /** How many elements the page had, those that could not be read included. */
  raw: number;
  /** Of all pages, where the forge says it. */
  total?: number;
}

/** How often a list is read at most until nothing is missing. */
const READINGS = 3;

interface PagingOptions<T> {
  what: string;
  key: (item: T) => string | number;
  log: Logger;
  /** More than this is not read; the log says so. */
  maxPages?: number;
}

/**
 * Everything in a list that moves while it is read: elements come twice or slip between two pages, since both forges
 * order by times that change. Duplicates are dropped, the later one wins; when fewer arrive than the forge counts, the
 * list is read again, at most twice, and joined. The forge may give smaller pages than asked for, so that only its total or an
 * empty page end the list.
 */
export async function readPages<T>(
  fetchPage: (page: number) => Promise<Page<T>>,
  options: PagingOptions<T>,
): Promise<T[]> {
  const found = new Map<string | number, T>();
  const readAll = async (): Promise<{ pages: number; unread: number; total: number | undefined }> => {
    const { maxPages = 200 } = options;
    let seen = 0;
    let unread = 0;
    for (let number = 1; ; number++) {
      const page = await fetchPage(number);
      const before = found.size;
      for (const item of page.items) found.set(options.key(item), item);
      seen += page.raw;
      unread += page.raw - page.items.length;
      const complete = page.total !== undefined && found.size + unread >= page.total;
      const nothingNew = found.size === before && seen >= (page.total ?? 0);
      const ended = page.raw === 0 || complete || nothingNew;
      if (ended) return { pages: number, unread, total: page.total };
      if (number < maxPages) continue;
      options.log.warn(
        { list: options.what, read: found.size, total: page.total },
        "the forge's list is too long: the rest is not read",
      );
      return { pages: number, unread, total: undefined };
    }
  };
  for (let reading = 1; reading <= READINGS; reading++) {
    const { pages, unread, total } = await readAll();
    if (pages === 1 || total === undefined || found.size + unread >= total) break;
  }
  return [...found.values()];
}
