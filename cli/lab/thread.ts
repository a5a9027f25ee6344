// Threads of a lab, and how to end them. A thread that is terminated while it loads a native addon
// (koffi) takes the whole process down (abort in the addon's initialisation), and so does
// process.exit() at that moment. A thread therefore says when it has loaded everything, and nobody
// ends it, or the process, before. The first message of every such thread is STARTED.

import { Worker } from 'node:worker_threads'
import { KILL_GRACE_MS } from './limits.ts'

export const STARTED = 'started'

/** Threads that may still be loading. */
const starting = new Set<Promise<void>>()

export interface Thread {
  readonly worker: Worker
  /** Resolves when the thread has loaded everything, or has ended. */
  readonly started: Promise<void>
}

/** Starts a thread of `file` with `data`; its messages after STARTED go to `hear`. */
export function startThread<Message>(
  file: URL,
  data: unknown,
  hear: (message: Message) => void,
): Thread {
  const worker = new Worker(file, {
    workerData: data,
    execArgv: ['--disable-warning=ExperimentalWarning'],
  })
  const started = new Promise<void>((resolve) => {
    worker.on('exit', () => resolve())
    worker.on('message', (message: Message | typeof STARTED) => {
      if (message === STARTED) resolve()
      else hear(message as Message)
    })
  })
  starting.add(started)
  started.then(() => starting.delete(started))
  return { worker, started }
}

/** Ends a thread, once that is safe. */
export async function endThread(thread: Thread): Promise<void> {
  thread.worker.ref()
  await thread.started
  await thread.worker.terminate()
}

/** Resolves when the process may exit: no thread is loading any more (or KILL_GRACE_MS have
 * passed). */
export async function threadsStarted(): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, KILL_GRACE_MS)
  })
  await Promise.race([Promise.all(starting), late])
  clearTimeout(timer)
}
