// The calls that run and the connections they run on, by who called. What a caller may do can
// change under a call that stands for days: the node behind it is removed, or is no manager any
// more. Then recheck() asks the gate again about every call, ends those that it would refuse now
// with the words that a new call would get, and closes connections that have none left.
//
// A caller without a certificate is not kept: what anybody may do nobody can be forbidden.

import type { status } from '@grpc/grpc-js'
import { CUT_GRACE_MS } from './limits.ts'
import { type Callee, connectionOf, type Peer } from './peer.ts'

/** Why a call is refused: a gRPC status and a sentence for the caller. */
export interface CallRefusal {
  readonly code: status
  readonly details: string
}

/** What of an HTTP/2 session is needed here. */
interface Connection {
  readonly destroyed: boolean
  once(event: 'close', listener: () => void): unknown
  close(): void
  destroy(): void
}

/** A call that runs. */
export class StandingCall {
  readonly method: string
  readonly #refuse: (refusal: CallRefusal) => void
  #set: Set<StandingCall> | null
  #isRefused = false

  constructor(method: string, set: Set<StandingCall>, refuse: (refusal: CallRefusal) => void) {
    this.method = method
    this.#refuse = refuse
    this.#set = set
    set.add(this)
  }

  /** It was ended from here: what its handler still says must not be sent. */
  get isRefused(): boolean {
    return this.#isRefused
  }

  /** The call has ended. */
  ended(): void {
    this.#set?.delete(this)
    this.#set = null
  }

  refuse(refusal: CallRefusal): void {
    this.#isRefused = true
    this.ended()
    this.#refuse(refusal)
  }
}

interface Entry {
  readonly peer: Peer
  readonly calls: Set<StandingCall>
  isCut: boolean
}

export class StandingCalls {
  readonly #connections = new Map<Connection, Entry>()

  /** Connections of callers with a name. */
  get connections(): number {
    return this.#connections.size
  }

  /** Notes a call that the gate has let through; null where its connection cannot be seen. */
  begin(
    call: Callee,
    peer: Peer,
    method: string,
    refuse: (refusal: CallRefusal) => void,
  ): StandingCall | null {
    const connection = connectionOf(call) as Connection | null
    if (connection === null) return null
    let entry = this.#connections.get(connection)
    if (entry === undefined) {
      entry = { peer, calls: new Set(), isCut: false }
      this.#connections.set(connection, entry)
      connection.once('close', () => this.#connections.delete(connection))
    }
    return new StandingCall(method, entry.calls, refuse)
  }

  /** Ends what `refusalOf` refuses by now. A connection is closed when it has no call left and its
   * caller `isOut`: is not, or not any more, what its certificate says. */
  recheck(
    refusalOf: (peer: Peer, method: string) => CallRefusal | null,
    isOut: (peer: Peer) => boolean,
  ): void {
    for (const [connection, entry] of this.#connections) {
      const { peer, calls } = entry
      if (!isOut(peer)) continue
      for (const call of [...calls]) {
        const refusal = refusalOf(peer, call.method)
        if (refusal !== null) call.refuse(refusal)
      }
      if (calls.size === 0 && !entry.isCut) {
        entry.isCut = true
        cut(connection)
      }
    }
  }
}

/** The last words are sent if the other end takes them, and then it is over. */
function cut(connection: Connection): void {
  if (connection.destroyed) return
  connection.close()
  const timer = setTimeout(() => connection.destroy(), CUT_GRACE_MS)
  connection.once('close', () => clearTimeout(timer))
}
