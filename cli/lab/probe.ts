// A probe: a thread of this process that has moved into a host's network namespace.
// setns(CLONE_NEWNET) works per thread, and a socket belongs to the namespace of the thread that
// made it; so one process can ask from any place of the lab without starting a command there.

import { PROBE_TIMEOUT_MS } from './limits.ts'
import { endThread, startThread, type Thread } from './thread.ts'

/** What the probe's thread is asked to do. */
export interface ProbeRequest {
  readonly id: number
  readonly kind: 'get' | 'download' | 'udp'
  /** http://ADDRESS:PORT/PATH, or udp://ADDRESS:PORT. Addresses only: there is no resolver. */
  readonly url: string
  readonly timeoutMs: number
  /** Datagram to send, for kind 'udp'. */
  readonly text?: string
}

export interface ProbeAnswer {
  readonly id: number
  /** Why there is no answer. */
  readonly error?: string
  /** HTTP status, 0 for UDP. */
  readonly status: number
  /** The answer's text; empty for a download. */
  readonly body: string
  /** Bytes of the answer. */
  readonly bytes: number
  /** From the connection's first packet to the answer's last byte. */
  readonly durationMs: number
}

export class Probe {
  readonly #thread: Thread
  readonly #waiting = new Map<number, (answer: ProbeAnswer) => void>()
  #nextId = 1
  #isClosing = false
  #failure: Error | undefined

  constructor(netns: string) {
    this.#thread = startThread<ProbeAnswer>(
      new URL('./probe-worker.ts', import.meta.url),
      { netns },
      (answer) => {
        this.#waiting.get(answer.id)?.(answer)
        this.#waiting.delete(answer.id)
      },
    )
    this.#thread.worker.unref()
    const fail = (error: Error): void => {
      this.#failure ??= error
      for (const [id, resolve] of this.#waiting) resolve(failed(id, error.message))
      this.#waiting.clear()
    }
    this.#thread.worker.on('error', fail)
    this.#thread.worker.on('exit', () => fail(new Error('the probe has ended')))
  }

  /** Asks without throwing: `error` says what went wrong. */
  try(
    kind: ProbeRequest['kind'],
    url: string,
    options: { timeoutMs?: number; text?: string } = {},
  ): Promise<ProbeAnswer> {
    const id = this.#nextId++
    if (this.#failure) return Promise.resolve(failed(id, this.#failure.message))
    const timeoutMs = options.timeoutMs ?? PROBE_TIMEOUT_MS
    return new Promise((resolve) => {
      // A thread at work keeps the program alive; an idle one does not.
      if (this.#waiting.size === 0) this.#thread.worker.ref()
      this.#waiting.set(id, (answer) => {
        // The program would end before the thread that it waits for has.
        if (this.#waiting.size <= 1 && !this.#isClosing) this.#thread.worker.unref()
        resolve(answer)
      })
      const text = options.text === undefined ? {} : { text: options.text }
      this.#thread.worker.postMessage({ id, kind, url, timeoutMs, ...text } satisfies ProbeRequest)
    })
  }

  /** GET over a connection of its own; returns the body. Throws unless the status is 200. */
  async get(url: string, timeoutMs: number = PROBE_TIMEOUT_MS): Promise<string> {
    const answer = await this.try('get', url, { timeoutMs })
    if (answer.error !== undefined) throw new Error(`${url}: ${answer.error}`)
    if (answer.status !== 200) throw new Error(`${url}: status ${answer.status}`)
    return answer.body
  }

  /** Sends one datagram and returns the first that comes back. Throws at the deadline. */
  async udp(address: string, text: string, timeoutMs: number = PROBE_TIMEOUT_MS): Promise<string> {
    const answer = await this.try('udp', `udp://${address}`, { timeoutMs, text })
    if (answer.error !== undefined) throw new Error(`udp ${address}: ${answer.error}`)
    return answer.body
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await endThread(this.#thread)
  }
}

function failed(id: number, error: string): ProbeAnswer {
  return { id, error, status: 0, body: '', bytes: 0, durationMs: 0 }
}
