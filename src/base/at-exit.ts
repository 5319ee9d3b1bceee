const cleanups = new Set<() => void>();

/**
 * Has `cleanup` called when the process exits without anybody having come to it before; synchronous work only. One
 * listener serves all, however many there are. Returns what takes it back.
 */
export function atExit(cleanup: () => void): () => void {
  if (cleanups.size === 0) process.once("exit", runAll);
  cleanups.add(cleanup);
  return () => {
    if (cleanups.delete(cleanup) && cleanups.size === 0) process.off("exit", runAll);
  };
}

function runAll(): void {
  for (const cleanup of cleanups) cleanup();
}
