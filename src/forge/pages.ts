import type { Listing } from "./port.ts";

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
  key: (item: T) => string | number;
  /** More than this is not read. */
  maxPages?: number;
}

/**
 * Everything in a list that moves while it is read: elements come twice or slip between two pages, since both forges
 * order by times that change. Duplicates are dropped, the later one wins; when fewer arrive than the forge counts, the
 * list is read again, at most twice, and joined. The forge may give smaller pages than asked for, so that only its total or an
 * empty page end the list. What is still missing then, or lies beyond the last page that is read, makes it incomplete.
 */
export async function readPages<T>(
  fetchPage: (page: number) => Promise<Page<T>>,
  { key, maxPages = 200 }: PagingOptions<T>,
): Promise<Listing<T>> {
  const found = new Map<string | number, T>();
  const readAll = async (): Promise<"complete" | "missing" | "too long"> => {
    let seen = 0;
    let unread = 0;
    for (let number = 1; number <= maxPages; number++) {
      const page = await fetchPage(number);
      const before = found.size;
      for (const item of page.items) found.set(key(item), item);
      seen += page.raw;
      unread += page.raw - page.items.length;
      const { total } = page;
      if (total !== undefined && found.size + unread >= total) return "complete";
      const nothingNew = found.size === before && seen >= (total ?? 0);
      if (page.raw === 0 || nothingNew) return total === undefined ? "complete" : "missing";
    }
    return "too long";
  };
  let outcome = await readAll();
  for (let reading = 2; reading <= READINGS && outcome === "missing"; reading++) outcome = await readAll();
  return { items: [...found.values()], complete: outcome === "complete" };
}
