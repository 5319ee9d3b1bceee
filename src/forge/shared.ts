/**
 * A value that is asked for once and shared by all who wait for it, until it is forgotten. One waiter giving up does
 * not take it from the others; a failure is not kept.
 */
export interface Shared<T> {
  get(signal: AbortSignal): Promise<T>;
  /** Only `value`, where one is given: another may have been fetched in the meantime. */
  forget(value?: T): void;
}

export function shared<T>(fetchValue: (signal: AbortSignal) => Promise<T>): Shared<T> {
  let pending: Promise<T> | undefined;
  let known: T | undefined;

  function ask(): Promise<T> {
    const asked = fetchValue(new AbortController().signal).then(
      (value) => {
        if (pending === asked) known = value;
        return value;
      },
      (error: unknown) => {
        if (pending === asked) pending = undefined;
        throw error;
      },
    );
    return asked;
  }

  return {
    get: async (signal) => {
      signal.throwIfAborted();
      pending ??= ask();
      const value = await pending;
      signal.throwIfAborted();
      return value;
    },
    forget: (value) => {
      if (value !== undefined && value !== known) return;
      pending = undefined;
      known = undefined;
    },
  };
}
