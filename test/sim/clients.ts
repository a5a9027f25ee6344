// The clients: each asks for one thing after the other, a write or a read of some register, of one
// member, and stays with that member as long as it answers. What is not answered in time may have
// happened or not; the client goes on with something else. All of it is recorded for the check of
// linearizability.

import type { Prng } from '../../base/prng.ts'
import type { Operation } from './linearizability.ts'
import { exponential, pick, stream } from './options.ts'
import { type Command, encodeCommand } from './state-machine.ts'
import type { Member, World } from './world.ts'

const RETRY_MS = 20
/** Of 100 calls, by client: some only read, and so stay with a leader that can commit nothing any
 * more. */
const READ_SHARES = [50, 100, 30, 95, 0]
/** Values of different clients differ. */
const VALUES_PER_CLIENT = 1_000_000

interface Call {
  readonly kind: Operation['kind']
  readonly key: number
  value: number
  readonly called: number
  returned: number
  readonly client: number
  readonly sequence: number
  readonly target: Member
  /** Neither answered nor given up. */
  open: boolean
}

export class Clients {
  readonly history: Operation[] = []
  readonly #world: World
  readonly #calls: (Call | null)[] = []
  readonly #sequences: number[] = []
  readonly #targets: Member[] = []
  readonly #random: Prng
  #ended = false

  constructor(world: World) {
    this.#world = world
    this.#random = stream(world.options.seed, 3)
    world.onApplied = (member, command) => this.#applied(member, command)
    for (let client = 0; client < world.options.clients; client++) {
      this.#targets[client] = pick(this.#random, world.members)
      this.#later(client, exponential(this.#random, 500))
    }
  }

  /** No new calls but those of probe(). */
  end(): void {
    this.#ended = true
  }

  /** A write by a client of its own; `done` is called if it is answered. */
  probe(target: Member, done: () => void): void {
    const client = this.#world.options.clients
    const call = this.#call(client, 'write', target)
    this.#calls[client] = call
    this.#write(call, done)
  }

  #later(client: number, delayMs: number): void {
    this.#world.schedule(delayMs, `client ${client}`, () => {
      if (!this.#ended) this.#next(client)
    })
  }

  #next(client: number): void {
    const random = this.#random
    const target = this.#targets[client]!
    if (target.driver === null || random.below(200) === 0) {
      this.#targets[client] = pick(random, this.#world.members)
      this.#later(client, RETRY_MS)
      return
    }
    if (target.pausedUntil > this.#world.now) {
      // It will take the request when it wakes up.
      this.#world.schedule(target.pausedUntil - this.#world.now, `client ${client} again`, () =>
        this.#next(client),
      )
      return
    }
    const share = READ_SHARES[client % READ_SHARES.length]!
    const kind = random.below(100) < share ? 'read' : 'write'
    const call = this.#call(client, kind, target)
    this.#calls[client] = call
    this.#world.schedule(this.#world.options.timeoutMs, `client ${client} gives up`, () =>
      this.#giveUp(call),
    )
    if (call.kind === 'write') this.#write(call)
    else this.#read(call)
    target.look()
  }

  #call(client: number, kind: Operation['kind'], target: Member): Call {
    const sequence = (this.#sequences[client] ?? 0) + 1
    this.#sequences[client] = sequence
    const key = this.#random.below(this.#world.options.keys)
    const value = kind === 'write' ? (client + 1) * VALUES_PER_CLIENT + sequence : 0
    const called = this.#world.moment()
    const returned = Number.POSITIVE_INFINITY
    const call = { kind, key, value, called, returned, client, sequence, target, open: true }
    this.history.push(call)
    return call
  }

  #write(call: Call, done: () => void = () => {}): void {
    const { client, sequence, key, value } = call
    const bytes = encodeCommand({ client, sequence, key, value })
    const result = call.target.driver?.propose(bytes, (outcome) => {
      if (outcome === 'applied') {
        this.#return(call)
        done()
      } else if (outcome === 'lost') {
        this.#world.counts.overruled++
        this.#refuse(call)
      }
    })
    if (result === undefined || result.refusal !== null) this.#refuse(call)
  }

  #read(call: Call): void {
    const { target } = call
    target.driver?.read(() => {
      if (!call.open) return
      call.value = target.machine.read(call.key)
      this.#return(call)
    })
  }

  /** A write that was passed on to the leader is answered when the member it was asked of applies
   * it. */
  #applied(member: Member, { client, sequence }: Command): void {
    const call = this.#calls[client]
    if (call?.kind === 'write' && call.sequence === sequence && call.target === member) {
      this.#return(call)
    }
  }

  #return(call: Call): void {
    if (!call.open) return
    call.open = false
    call.returned = this.#world.moment()
    if (call.kind === 'write') this.#world.counts.writes++
    else this.#world.counts.reads++
    this.#later(call.client, exponential(this.#random, this.#world.options.thinkMeanMs))
  }

  /** It certainly never happens. */
  #refuse(call: Call): void {
    this.#world.counts.refused++
    this.history.splice(this.history.lastIndexOf(call), 1)
    if (!call.open) return
    call.open = false
    this.#targets[call.client] = this.#elsewhere(call.target)
    this.#later(call.client, RETRY_MS)
  }

  #giveUp(call: Call): void {
    if (!call.open) return
    call.open = false
    this.#world.counts.unknown++
    this.#targets[call.client] = this.#elsewhere(call.target)
    this.#later(call.client, 0)
  }

  /** The leader that the member knows of, or anybody. */
  #elsewhere(member: Member): Member {
    const lead = this.#world.member(member.status.lead)
    if (lead !== undefined && lead !== member && this.#random.below(4) > 0) return lead
    return pick(this.#random, this.#world.members)
  }
}
