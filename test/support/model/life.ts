/** One life of a process, from its start to its kill -9. */
export interface Life {
  ended: boolean;
}

/**
 * What a process sees of something that outlives it: nothing happens through it any more once the process is dead, and
 * no answer reaches it. Requests that were under way go on outside.
 */
export function mortal<T extends object>(life: Life, outside: T): T {
  return new Proxy(outside, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        if (life.ended) return new Promise(() => {});
        const answer: unknown = Reflect.apply(value as (...args: unknown[]) => unknown, target, args);
        return answer instanceof Promise ? heard(life, answer) : answer;
      };
    },
  });
}

/** The same for what answers at once: a dead process does not come to it. */
export function mortalSync<T extends object>(life: Life, outside: T): T {
  return new Proxy(outside, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        if (life.ended) throw new Error("this process is dead");
        return Reflect.apply(value as (...args: unknown[]) => unknown, target, args);
      };
    },
  });
}

function heard<T>(life: Life, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    answer.then(
      (value) => {
        if (!life.ended) resolve(value);
      },
      (error: unknown) => {
        if (!life.ended) reject(error);
      },
    );
  });
}
