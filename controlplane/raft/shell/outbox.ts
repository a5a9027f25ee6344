// Messages on their way to the transport. A leader that commits tells its followers at once, by a
// MsgApp without entries; the next proposal's MsgApp tells them again. In a row of proposals that
// doubles the messages for nothing. So a MsgApp without entries waits for some milliseconds, and
// goes unsent if one that says more comes first. Nobody waits for it: a proposal is answered by the
// leader, and reads come with heartbeats, before which what waits is sent.
//
// Safe because any message may be lost: what is left out here is as good as lost, and followed by a
// newer one of the same term.

import type { Message, NodeId } from '../messages.ts'
import { COMMIT_NEWS_MS } from './limits.ts'

interface Waiting {
  readonly message: Message
  readonly sinceMs: number
}

export class Outbox {
  readonly #send: (message: Message) => void
  readonly #waiting = new Map<NodeId, Waiting>()
  #timer: ReturnType<typeof setTimeout> | null = null

  constructor(send: (message: Message) => void) {
    this.#send = send
  }

  send(message: Message): void {
    const { type, to, term, entries } = message
    const earlier = this.#waiting.get(to)
    if (earlier !== undefined) {
      this.#waiting.delete(to)
      if (type !== 'MsgApp' || earlier.message.term !== term) this.#send(earlier.message)
    }
    if (type !== 'MsgApp' || entries.length > 0) {
      this.#send(message)
      return
    }
    // What takes the place of earlier news has not waited less for it.
    const sinceMs = earlier?.sinceMs ?? performance.now()
    this.#waiting.set(to, { message, sinceMs })
    this.#timer ??= setTimeout(() => this.#flush(), COMMIT_NEWS_MS)
  }

  /** Sends what has waited long enough. Proposals in a row leave none. */
  #flush(): void {
    this.#timer = null
    const nowMs = performance.now()
    for (const [to, { message, sinceMs }] of this.#waiting) {
      if (nowMs - sinceMs < COMMIT_NEWS_MS - 1) continue
      this.#waiting.delete(to)
      this.#send(message)
    }
    if (this.#waiting.size > 0) this.#timer = setTimeout(() => this.#flush(), COMMIT_NEWS_MS)
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#waiting.clear()
  }
}
