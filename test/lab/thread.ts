// A thread inside a host's network namespace that does what it is asked, one method call per
// message. The asking half; inside.ts is the other. Sockets belong to the namespace of the thread
// that makes them, so a test acts from any place of the lab without starting programs there.

import { Worker } from 'node:worker_threads'
import type { Host } from '../../cli/lab/host.ts'

// biome-ignore lint/suspicious/noExplicitAny: the methods' own types are kept by Call<M>.
type Method = (...parameters: any[]) => unknown
export type Methods = Readonly<Record<string, Method>>

/** The methods as the asker sees them: all of them answer later. */
export type Remote<M extends Methods> = {
  readonly [K in keyof M]: (...parameters: Parameters<M[K]>) => Promise<Awaited<ReturnType<M[K]>>>
}

export interface Question {
  readonly id: number
  readonly method: string
  readonly parameters: readonly unknown[]
}

export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

export interface NamespaceThread<M extends Methods> {
  readonly ask: Remote<M>
  end(): Promise<void>
}

/** Starts `file` (a module that calls serve() of inside.ts) in the host's namespace. It never
 * keeps the program alive by itself, and ends with it. */
export function threadIn<M extends Methods>(host: Host, file: URL): NamespaceThread<M> {
  const worker = new Worker(file, {
    workerData: { netns: host.netns },
    execArgv: ['--disable-warning=ExperimentalWarning'],
  })
  const waiting = new Map<number, (answer: Answer) => void>()
  let nextId = 1
  let failure: string | undefined
  let isEnding = false
  const fail = (reason: string): void => {
    failure ??= reason
    for (const [id, resolve] of waiting) resolve({ id, error: failure })
    waiting.clear()
  }
  worker.on('message', (answer: Answer) => {
    waiting.get(answer.id)?.(answer)
    waiting.delete(answer.id)
    // The program would end before the thread that it waits for has.
    if (waiting.size === 0 && !isEnding) worker.unref()
  })
  worker.on('error', (error: Error) => fail(`${host.name}: ${error.stack ?? error.message}`))
  worker.on('exit', () => fail(`the thread in ${host.name} has ended`))
  worker.unref()
  const call = async (method: string, parameters: readonly unknown[]): Promise<unknown> => {
    if (failure !== undefined) throw new Error(failure)
    const id = nextId++
    worker.ref()
    const answer = await new Promise<Answer>((resolve) => {
      waiting.set(id, resolve)
      worker.postMessage({ id, method, parameters } satisfies Question)
    })
    if (answer.error !== undefined) throw new Error(`${host.name} ${method}: ${answer.error}`)
    return answer.value
  }
  const ask = new Proxy({} as Remote<M>, {
    get:
      (_, method: string) =>
      (...parameters: unknown[]) =>
        call(method, parameters),
  })
  const end = async (): Promise<void> => {
    isEnding = true
    await worker.terminate()
  }
  return { ask, end }
}
