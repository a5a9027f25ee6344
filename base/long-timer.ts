// A timer for any length of time. Node runs at once what is due in more than 2^31 - 1 ms, about 25
// days: a service whose delays are longer than that would be tended without end.

const TIMEOUT_MS_MAX = 2 ** 31 - 1

/** Calls `run` once, `delayMs` from now at the earliest. Returns its cancellation. */
export function startTimer(delayMs: number, run: () => void): () => void {
  let timer: NodeJS.Timeout
  const start = (leftMs: number): void => {
    const stepMs = Math.min(leftMs, TIMEOUT_MS_MAX)
    timer = setTimeout(() => (leftMs > stepMs ? start(leftMs - stepMs) : run()), stepMs)
  }
  start(delayMs)
  return () => clearTimeout(timer)
}
