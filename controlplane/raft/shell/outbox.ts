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

export class Outbox {
  readonly #send: (message: Message) => void
  readonly #waiting = new Map<NodeId, Message>()
  #timer: ReturnType<typeof setTimeout> | null = null

  constructor(send: (message: Message) => void) {
    this.#send = send
  }

  send(message: Message): void {
    const { type, to, term, entries } = message
    const earlier = this.#waiting.get(to)
    if (earlier !== undefined) {
      this.#waiting.delete(to)
      if (type !== 'MsgApp' || earlier.term !== term) this.#send(earlier)
    }
    if (type !== 'MsgApp' || entries.length > 0) {
      this.#send(message)
      return
    }
    this.#waiting.set(to, message)
    this.#timer ??= setTimeout(() => this.flush(), COMMIT_NEWS_MS)
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const message of waiting) this.#send(message)
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#waiting.clear()
  }
}
