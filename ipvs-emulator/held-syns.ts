// Copies of SYNs whose real server has not answered yet, so that a refused one can be sent to
// another server at once (Director.retry()) instead of when the client repeats it, a second later.
//
// A table of fixed size, a place per connection number modulo its size: under a flood newer SYNs
// overwrite older ones, and a refusal whose SYN is gone costs that second. A copy does not own its
// connection: numbers are used again, so whoever opens a connection that may be retried keeps its
// SYN, and thereby forgets the last owner's.

import { HELD_SYN_SIZE_MAX, HELD_SYNS_MAX } from './limits.ts'

export class HeldSyns {
  readonly #bytes: Uint8Array = new Uint8Array(HELD_SYNS_MAX * HELD_SYN_SIZE_MAX)
  /** Connection of each place, -1 = none. */
  readonly #connections: Int32Array = new Int32Array(HELD_SYNS_MAX).fill(-1)
  readonly #sizes: Int32Array = new Int32Array(HELD_SYNS_MAX)
  readonly #notes: Int32Array = new Int32Array(HELD_SYNS_MAX)
  /** The caller's number that came with what copy() found last. */
  note = 0

  /** Keeps [at, end), and a number that is the caller's. False when it is too long, and then what
   * was kept for the connection is forgotten. */
  keep(connection: number, bytes: Uint8Array, at: number, end: number, note: number): boolean {
    const place = placeOf(connection)
    const size = end - at
    if (size <= 0 || size > HELD_SYN_SIZE_MAX) {
      if (this.#connections[place] === connection) this.#connections[place] = -1
      return false
    }
    this.#connections[place] = connection
    this.#sizes[place] = size
    this.#notes[place] = note
    const start = place * HELD_SYN_SIZE_MAX
    // Byte by byte: a view of [at, end) would be an object per SYN.
    for (let i = 0; i < size; i++) this.#bytes[start + i] = bytes[at + i]!
    return true
  }

  /** Copies what is kept for `connection` to `out`, and sets `note`. Returns its size, 0 = nothing
   * is kept. */
  copy(connection: number, bytes: Uint8Array, out: number): number {
    const place = placeOf(connection)
    if (this.#connections[place] !== connection) return 0
    const size = this.#sizes[place]!
    const start = place * HELD_SYN_SIZE_MAX
    for (let i = 0; i < size; i++) bytes[out + i] = this.#bytes[start + i]!
    this.note = this.#notes[place]!
    return size
  }

  /** Forgets the connection. */
  drop(connection: number): void {
    const place = placeOf(connection)
    if (this.#connections[place] === connection) this.#connections[place] = -1
  }
}

function placeOf(connection: number): number {
  return (connection >>> 1) & (HELD_SYNS_MAX - 1)
}
