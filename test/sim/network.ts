// The network between the members: every message has its own fate, drawn from the seed. It may be
// lost, come twice, or late, and so before messages sent earlier. Links are directed; what is cut
// one way may work the other way.
//
// The sender may be told that a message was lost, as a transport that notices a broken stream
// would. It may also be told wrongly.

import type { Prng } from '../../base/prng.ts'
import type { Message, NodeId } from '../../controlplane/raft/messages.ts'

export interface NetworkOptions {
  /** Probabilities, of 1000. */
  readonly loss: number
  readonly duplication: number
  /** Messages that are held up ten times longer than the others. */
  readonly straggling: number
  readonly leastDelayMs: number
  readonly meanDelayMs: number
}

export interface Delivery {
  readonly message: Message
  readonly delayMs: number
}

export class Network {
  readonly #random: Prng
  #options: NetworkOptions
  readonly #cut = new Set<number>()
  sent = 0
  lost = 0

  constructor(random: Prng, options: NetworkOptions) {
    this.#random = random
    this.#options = options
  }

  /** From now on nothing goes wrong but for the delay. */
  calm(): void {
    this.#options = { ...this.#options, loss: 0, duplication: 0, straggling: 0 }
    this.#cut.clear()
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(linkOf(from, to))
  }

  mend(from: NodeId, to: NodeId): void {
    this.#cut.delete(linkOf(from, to))
  }

  heal(): void {
    this.#cut.clear()
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(linkOf(from, to))
  }

  /** The copies of `message` that will arrive: none, one, or two. */
  send(message: Message): Delivery[] {
    this.sent++
    const { loss, duplication } = this.#options
    if (this.isCut(message.from, message.to) || this.#random.below(1000) < loss) {
      this.lost++
      return []
    }
    const first = { message, delayMs: this.#delay() }
    if (this.#random.below(1000) >= duplication) return [first]
    return [first, { message, delayMs: this.#delay() * 3 }]
  }

  /** Exponential, so that now and then one overtakes many. */
  #delay(): number {
    const { leastDelayMs, meanDelayMs, straggling } = this.#options
    const delay = leastDelayMs - Math.log(1 - this.#random.float()) * meanDelayMs
    return this.#random.below(1000) < straggling ? delay * 10 : delay
  }
}

/** A link as one number. Ids stay small in the simulator. */
function linkOf(from: NodeId, to: NodeId): number {
  return from * 1024 + to
}
