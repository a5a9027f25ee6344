// The window against replayed datagrams: RFC 6479, the sliding window without the sliding.
//
// Counters arrive out of order but never twice. A ring of 32-bit words holds one bit per counter;
// the word of a counter is (counter / 32) mod WORDS. When the newest counter moves into new words,
// these are cleared and everything that fell out behind is refused from then on. The word being
// filled is shared by the newest and the oldest counters, which is why the window is one word
// shorter than the ring.
//
//     word   ... | n-2 | n-1 |  n  | n+1 | n+2 | ...      n = word of the newest counter
//                              ^ bits above the newest are zero
//
// check() before the datagram is opened spares the decryption of a replay; commit() only after,
// because a forged counter must not move the window (RFC 6479 section 2, RFC 4303 section 3.4.3).
//
// Counters are plain numbers below 2^53, so the word number is computed by division, not by
// shifting.

import { REPLAY_WINDOW_BITS } from './limits.ts'

const WORD_BITS = 32
const WORDS: number = REPLAY_WINDOW_BITS / WORD_BITS
const WORD_MASK: number = WORDS - 1

/** A counter this far behind the newest is refused. */
export const REPLAY_REACH: number = REPLAY_WINDOW_BITS - WORD_BITS

export class ReplayWindow {
  readonly #words: Int32Array = new Int32Array(WORDS)
  /** Newest counter committed, -1 = none. */
  #newest = -1

  /** False when `counter` was committed before or is too old. Changes nothing. */
  check(counter: number): boolean {
    if (counter > this.#newest) return true
    if (this.#newest - counter >= REPLAY_REACH) return false
    const word = Math.floor(counter / WORD_BITS) & WORD_MASK
    return (this.#words[word]! & (1 << (counter % WORD_BITS))) === 0
  }

  /** Marks `counter`, for which check() just held, as seen. True when it is the newest so far. */
  commit(counter: number): boolean {
    const newer = counter > this.#newest
    const target = Math.floor(counter / WORD_BITS)
    if (newer) {
      const current = Math.floor(this.#newest / WORD_BITS)
      const steps = Math.min(target - current, WORDS)
      // For -1, "current" is -1: word 0 is cleared like any other new word.
      for (let i = 0; i < steps; i++) this.#words[(target - i) & WORD_MASK] = 0
      this.#newest = counter
    }
    this.#words[target & WORD_MASK]! |= 1 << (counter % WORD_BITS)
    return newer
  }

  /** Forgets everything: the window of a fresh key. */
  reset(): void {
    this.#words.fill(0)
    this.#newest = -1
  }
}
