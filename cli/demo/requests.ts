// One request of the demo and what it tells: who answered, and whom it saw.

import type { Host } from '../lab/host.ts'
import { pause } from '../lab/wait.ts'
import { BULK_MB, BULK_TIMEOUT_MS, PUBLISHED_PORT, REQUEST_TIMEOUT_MS } from './limits.ts'

export interface Answer {
  /** Replica that answered. */
  readonly replica: string
  /** Client address that the replica saw. */
  readonly saw: string
  readonly body: string
  readonly durationMs: number
}

const ANSWER = /^(\S+) saw (\S+)$/m

/** "http://ADDRESS[:PORT]PATH", with brackets where they belong. */
export function url(address: string, port: number | undefined, path: string = '/'): string {
  const host = address.includes(':') ? `[${address}]` : address
  return `http://${host}${port === undefined ? '' : `:${port}`}${path}`
}

/** Asks from a host, over a connection of its own. Throws with the reason when there is no
 * answer. */
export async function ask(from: Host, target: string): Promise<Answer> {
  const got = await from.probe.try('get', target, { timeoutMs: REQUEST_TIMEOUT_MS })
  if (got.error !== undefined) throw new Error(`${from.name} asked ${target}: ${got.error}`)
  const match = ANSWER.exec(got.body)
  if (!match) throw new Error(`${from.name} asked ${target}: status ${got.status}, no name in it`)
  return { replica: match[1]!, saw: match[2]!, body: got.body, durationMs: got.durationMs }
}

/** Asks `count` times, one after the other; returns how often each replica answered. */
export async function spread(
  from: Host,
  target: string,
  count: number,
): Promise<Map<string, number>> {
  const answers = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const { replica } = await ask(from, target)
    answers.set(replica, (answers.get(replica) ?? 0) + 1)
  }
  return answers
}

/** Downloads `megabytes` over one TCP connection; returns gigabits per second. */
export async function download(
  from: Host,
  address: string,
  megabytes: number = BULK_MB,
): Promise<number> {
  const target = url(address, PUBLISHED_PORT, `/bulk/${megabytes}`)
  const got = await from.probe.try('download', target, { timeoutMs: BULK_TIMEOUT_MS })
  if (got.error !== undefined) throw new Error(`${from.name} asked ${target}: ${got.error}`)
  const wanted = megabytes * 1024 * 1024
  if (got.bytes !== wanted) throw new Error(`${target}: ${got.bytes} of ${wanted} bytes came`)
  return (got.bytes * 8) / got.durationMs / 1e6
}

/** Asks again and again, each time over a new connection, until it is stopped. */
export class Asker {
  asked = 0
  failures = 0
  lastFailure = ''
  readonly #from: Host
  readonly #target: string
  #isOver = false
  #running: Promise<void> = Promise.resolve()

  constructor(from: Host, target: string) {
    this.#from = from
    this.#target = target
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<Asker> {
    this.#isOver = true
    await this.#running
    return this
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.asked++
      try {
        await ask(this.#from, this.#target)
      } catch (error) {
        this.failures++
        this.lastFailure = (error as Error).message
      }
      await pause(10)
    }
  }
}
