/**
 * Names one attempt of a job, the same in every way that it is heard of, unique over all forges.
 * @param attempt counted from 1; a forge that shows none, or 0, means the first
 */
export function jobKey(target: string, id: number, attempt: number): string {
  return `${target}/${id}/${Math.max(1, attempt)}`;
}
